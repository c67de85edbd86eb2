/** The grid of files that match the filter, newest first, with a button for the next page. */

import { Card } from './card.js';
import { h } from './dom.js';
import { showError } from './toast.js';

/** Assets in one page of the list. */
const PAGE = 24;

export class Gallery {
  #api;
  #store;
  #urls;
  #actions;
  #cards = new Map();
  #filter = { type: '', status: '' };
  #cursor = null;
  #requests = 0;
  #visibility = new IntersectionObserver((entries) => entries.forEach((entry) => this.#onVisibility(entry)), { rootMargin: '300px' });

  constructor({ api, store, urls, actions }) {
    this.#api = api;
    this.#store = store;
    this.#urls = urls;
    this.#actions = actions;
    this.grid = document.getElementById('grid');
    this.empty = document.getElementById('empty');
    this.more = document.getElementById('more');
    this.count = document.getElementById('count');
    this.more.addEventListener('click', () => this.#loadPage());
    document.getElementById('filters').addEventListener('change', (event) => this.#setFilter(event.target));
    store.addEventListener('add', () => this.#arrange());
    store.addEventListener('remove', ({ detail }) => this.#onRemove(detail));
    store.addEventListener('change', ({ detail }) => this.#onChange(detail));
  }

  /** Load the first page again. */
  async reload() {
    this.#cursor = null;
    this.grid.setAttribute('aria-busy', 'true'); // Or the gallery would count as empty for a moment.
    this.#store.clear();
    await this.#loadPage();
  }

  async #loadPage() {
    const request = ++this.#requests;
    this.grid.setAttribute('aria-busy', 'true');
    this.more.disabled = true;
    this.#showSkeleton();
    try {
      const page = await this.#api.assets({ ...this.#filter, cursor: this.#cursor, limit: PAGE });
      if (request !== this.#requests) return; // A later request replaced this one.
      this.#cursor = page.next_cursor;
      page.items.forEach((asset) => this.#store.put(asset));
    } catch (problem) {
      showError(problem);
    }
    this.more.hidden = !this.#cursor;
    this.more.disabled = false;
    this.grid.setAttribute('aria-busy', 'false');
    this.#arrange();
  }

  #setFilter({ name, value }) {
    this.#filter = { ...this.#filter, [name]: value };
    this.reload();
  }

  #matchesFilter({ asset, upload }) {
    const { type, status } = this.#filter;
    if (upload?.phase === 'interrupted') return false; // Shown in the resume list.
    return Boolean(upload) || ((!type || asset.asset_type === type) && (!status || asset.status === status));
  }

  /** Put the cards into the order of the store. Cards in place are not moved; one that is keeps the keyboard's focus. */
  #arrange() {
    const focused = this.grid.contains(document.activeElement) ? document.activeElement : null;
    const items = this.#store.items.filter((item) => this.#matchesFilter(item));
    const wanted = new Set(items);
    for (const [item, card] of this.#cards) if (!wanted.has(item)) this.#removeCard(item, card);
    let next = this.grid.firstElementChild;
    for (const item of items) {
      const { element } = this.#cards.get(item) ?? this.#addCard(item);
      if (element === next) next = next.nextElementSibling;
      else this.grid.insertBefore(element, next);
    }
    if (focused?.isConnected && document.activeElement === document.body) focused.focus({ preventScroll: true });
    this.grid.querySelectorAll('.skeleton').forEach((skeleton) => { if (items.length || this.#isIdle) skeleton.remove(); });
    this.empty.hidden = items.length > 0 || !this.#isIdle;
    this.empty.dataset.filtered = String(Boolean(this.#filter.type || this.#filter.status));
    this.count.textContent = items.length ? `${items.length}${this.#cursor ? '+' : ''} ${items.length === 1 ? 'file' : 'files'}` : '';
  }

  get #isIdle() { return this.grid.getAttribute('aria-busy') === 'false'; }

  #addCard(item) {
    const card = new Card(item, this.#urls, this.#actions);
    this.#cards.set(item, card);
    this.#visibility.observe(card.element);
    return card;
  }

  #onChange(item) {
    const card = this.#cards.get(item);
    if (!card || !this.#matchesFilter(item)) { this.#arrange(); return; }
    card.update();
    if (card.inView) card.showPicture().catch(showError);
  }

  #onRemove(item) {
    const card = this.#cards.get(item);
    if (card) this.#removeCard(item, card);
    this.#arrange();
  }

  /** Remove a card. Focus in it moves to its neighbor rather than to the top of the page. */
  #removeCard(item, card) {
    if (card.element.contains(document.activeElement)) {
      const neighbor = card.element.nextElementSibling ?? card.element.previousElementSibling;
      (neighbor?.querySelector('button:not(:disabled)') ?? document.getElementById('pick')).focus();
    }
    this.#visibility.unobserve(card.element);
    card.element.remove();
    this.#cards.delete(item);
  }

  #onVisibility({ target, isIntersecting }) {
    const card = [...this.#cards.values()].find((one) => one.element === target);
    if (!card) return;
    card.inView = isIntersecting;
    if (isIntersecting) card.showPicture().catch(showError);
  }

  #showSkeleton() {
    if (this.grid.children.length) return;
    this.grid.append(...Array.from({ length: 4 }, () => h('li', { class: 'card skeleton', 'aria-hidden': 'true' },
      h('span', { class: 'thumb' }), h('div', { class: 'card-body' }, h('span', { class: 'ghost' }), h('span', { class: 'ghost short' })))));
  }
}
