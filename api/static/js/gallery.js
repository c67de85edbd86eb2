/** The grid of files: what the filter lets through, newest first, more on request. */

import { Card } from './card.js';
import { h } from './dom.js';
import { complain } from './toast.js';

const PAGE = 24;

export class Gallery {
  #api;
  #store;
  #urls;
  #actions;
  #cards = new Map();
  #filter = { type: '', status: '' };
  #cursor = null;
  #reading = 0;
  #seen = new IntersectionObserver((entries) => entries.forEach((entry) => this.#look(entry)), { rootMargin: '300px' });

  constructor({ api, store, urls, actions }) {
    this.#api = api;
    this.#store = store;
    this.#urls = urls;
    this.#actions = actions;
    this.grid = document.getElementById('grid');
    this.empty = document.getElementById('empty');
    this.more = document.getElementById('more');
    this.count = document.getElementById('count');
    this.more.addEventListener('click', () => this.#read());
    document.getElementById('filters').addEventListener('change', (event) => this.#choose(event.target));
    store.addEventListener('add', () => this.#arrange());
    store.addEventListener('remove', ({ detail }) => this.#forget(detail));
    store.addEventListener('change', ({ detail }) => this.#change(detail));
  }

  /** Reads the first page again. */
  async reload() {
    this.#cursor = null;
    this.grid.setAttribute('aria-busy', 'true'); // Or the moment between would read as an empty gallery.
    this.#store.clear();
    await this.#read();
  }

  async #read() {
    const turn = ++this.#reading;
    this.grid.setAttribute('aria-busy', 'true');
    this.more.disabled = true;
    this.#skeleton();
    try {
      const page = await this.#api.assets({ ...this.#filter, cursor: this.#cursor, limit: PAGE });
      if (turn !== this.#reading) return; // The filter changed meanwhile.
      this.#cursor = page.next_cursor;
      page.items.forEach((asset) => this.#store.put(asset));
    } catch (problem) {
      complain(problem);
    }
    this.more.hidden = !this.#cursor;
    this.more.disabled = false;
    this.grid.setAttribute('aria-busy', 'false');
    this.#arrange();
  }

  #choose({ name, value }) {
    this.#filter = { ...this.#filter, [name]: value };
    this.reload();
  }

  #fits({ asset, upload }) {
    const { type, status } = this.#filter;
    if (upload?.phase === 'interrupted') return false; // It stands in a list of its own.
    return Boolean(upload) || ((!type || asset.asset_type === type) && (!status || asset.status === status));
  }

  /** Puts the cards into the order of the store with as few moves as can be. */
  #arrange() {
    const items = this.#store.items.filter((item) => this.#fits(item));
    const wanted = new Set(items);
    for (const [item, card] of this.#cards) if (!wanted.has(item)) this.#take(item, card);
    let place = this.grid.firstElementChild;
    for (const item of items) {
      const { element } = this.#cards.get(item) ?? this.#make(item);
      if (element === place) place = place.nextElementSibling;
      else this.grid.insertBefore(element, place);
    }
    this.grid.querySelectorAll('.skeleton').forEach((ghost) => { if (items.length || this.#idle) ghost.remove(); });
    this.empty.hidden = items.length > 0 || !this.#idle;
    this.empty.dataset.filtered = String(Boolean(this.#filter.type || this.#filter.status));
    this.count.textContent = items.length ? `${items.length}${this.#cursor ? '+' : ''} ${items.length === 1 ? 'file' : 'files'}` : '';
  }

  get #idle() { return this.grid.getAttribute('aria-busy') === 'false'; }

  #make(item) {
    const card = new Card(item, this.#urls, this.#actions);
    this.#cards.set(item, card);
    this.#seen.observe(card.element);
    return card;
  }

  #change(item) {
    const card = this.#cards.get(item);
    if (!card || !this.#fits(item)) { this.#arrange(); return; }
    card.update();
    if (card.inView) card.showPicture().catch(complain);
  }

  #forget(item) {
    const card = this.#cards.get(item);
    if (card) this.#take(item, card);
    this.#arrange();
  }

  /** Takes a card away; focus that was on it goes to its neighbour rather than to the top of the page. */
  #take(item, card) {
    if (card.element.contains(document.activeElement)) {
      const neighbour = card.element.nextElementSibling ?? card.element.previousElementSibling;
      (neighbour?.querySelector('button:not(:disabled)') ?? document.getElementById('pick')).focus();
    }
    this.#seen.unobserve(card.element);
    card.element.remove();
    this.#cards.delete(item);
  }

  #look({ target, isIntersecting }) {
    const card = [...this.#cards.values()].find((one) => one.element === target);
    if (!card) return;
    card.inView = isIntersecting;
    if (isIntersecting) card.showPicture().catch(complain);
  }

  #skeleton() {
    if (this.grid.children.length) return;
    this.grid.append(...Array.from({ length: 4 }, () => h('li', { class: 'card skeleton', 'aria-hidden': 'true' },
      h('span', { class: 'thumb' }), h('div', { class: 'card-body' }, h('span', { class: 'ghost' }), h('span', { class: 'ghost short' })))));
  }
}
