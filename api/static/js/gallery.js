/** The files that match the filters, with a button for the next page. */

import { Card } from './card.js';
import { h } from './dom.js';
import { showError } from './toast.js';

/** Assets in one page of the list. */
const PAGE = 24;
/** Assets in one page when all are loaded: the most that the service gives. */
const LARGE_PAGE = 100;

export class Gallery {
  #api;
  #store;
  #urls;
  #actions;
  #filters;
  #cards = new Map();
  #items = [];
  #cursor = null;
  /** How many of the service's files are not loaded, as far as it counted. */
  #unseen = 0;
  #hasMoreThanTotal = false;
  #requests = 0;
  #arranging = false;
  #visibility = new IntersectionObserver((entries) => entries.forEach((entry) => this.#onVisibility(entry)), { rootMargin: '300px' });

  constructor({ api, store, urls, filters, actions }) {
    this.#api = api;
    this.#store = store;
    this.#urls = urls;
    this.#filters = filters;
    this.#actions = actions;
    this.grid = document.getElementById('grid');
    this.empty = document.getElementById('empty');
    this.more = document.getElementById('more');
    this.count = document.getElementById('count');
    this.more.addEventListener('click', () => this.#load());
    document.getElementById('clear-filters').addEventListener('click', () => filters.clear());
    filters.addEventListener('change', () => this.reload());
    filters.addEventListener('arrange', () => this.#arrange());
    store.addEventListener('add', () => this.#arrangeSoon());
    store.addEventListener('remove', ({ detail }) => this.#onRemove(detail));
    store.addEventListener('change', ({ detail }) => this.#onChange(detail));
  }

  /** The items that are shown, in their order. */
  get items() { return this.#items; }

  cardOf(item) { return this.#cards.get(item); }

  /** Load the first page again. Cards of files that are still there stay, and so does the keyboard's focus in them. */
  async reload() {
    this.#cursor = null;
    await this.#load(true);
  }

  /** Load the next page, or all that are left if the filters need it. */
  async #load(afresh = false) {
    const request = ++this.#requests;
    this.grid.setAttribute('aria-busy', 'true'); // Or the gallery would count as empty for a moment.
    this.more.disabled = true;
    this.#arrange();
    this.#showSkeleton();
    const stale = new Set(afresh ? this.#store.items.filter(({ upload }) => !upload) : []);
    try {
      do {
        const { type, status, sort, needsAll } = this.#filters;
        const page = await this.#api.assets({ type, status, sort, cursor: this.#cursor, limit: needsAll ? LARGE_PAGE : PAGE });
        if (request !== this.#requests) return; // A later request replaced this one.
        if (!this.#cursor) [this.#unseen, this.#hasMoreThanTotal] = [page.total, page.total_is_more];
        this.#unseen -= page.items.length;
        this.#cursor = page.next_cursor;
        for (const asset of page.items) {
          this.#store.put(asset);
          stale.delete(this.#store.findByAsset(asset.asset_id));
        }
        this.#arrange();
      } while (this.#cursor && this.#filters.needsAll);
      stale.forEach((item) => this.#store.remove(item));
    } catch (problem) {
      showError(problem);
    }
    if (request !== this.#requests) return;
    this.more.hidden = !this.#cursor;
    this.more.disabled = false;
    this.grid.setAttribute('aria-busy', 'false');
    this.#arrange();
  }

  /** Arrange once for all files that are added together. */
  #arrangeSoon() {
    if (this.#arranging) return;
    this.#arranging = true;
    queueMicrotask(() => { this.#arranging = false; this.#arrange(); });
  }

  /** Put the cards into their order. Cards in place are not moved; one that is keeps the keyboard's focus. */
  #arrange() {
    const focused = this.grid.contains(document.activeElement) ? document.activeElement : null;
    const uploads = this.#store.items.filter(({ upload }) => upload?.phase !== 'interrupted'); // Those are in the resume list.
    const items = this.#items = this.#filters.apply(uploads);
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
    this.empty.dataset.filtered = String(this.#filters.isNarrowed);
    this.count.textContent = !this.#isIdle && this.#filters.needsAll ? 'Looking…' : this.#describeCount(items.length);
  }

  #describeCount(shown) {
    if (!shown) return '';
    if (!this.#cursor) return `${shown} ${shown === 1 ? 'file' : 'files'}`;
    return `${shown} of ${shown + this.#unseen}${this.#hasMoreThanTotal ? '+' : ''} files`;
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
    const shown = this.#filters.apply([item]).length > 0 && item.upload?.phase !== 'interrupted';
    if (!card || !shown) { this.#arrangeSoon(); return; }
    card.update();
    if (!item.upload && this.#filters.needsAll) this.#arrangeSoon(); // It may belong elsewhere now.
    if (card.inView) card.showPicture().catch(showError);
  }

  #onRemove(item) {
    const card = this.#cards.get(item);
    if (card) this.#removeCard(item, card);
    this.#arrangeSoon();
  }

  /** Remove a card. Focus in it moves to the card that replaces it, else to its neighbor rather than to the top of the page. */
  #removeCard(item, card) {
    if (card.element.contains(document.activeElement)) {
      const same = this.#cards.get(this.#store.findByAsset(item.asset.asset_id));
      const heir = same && same !== card ? same.element : card.element.nextElementSibling ?? card.element.previousElementSibling;
      (heir?.querySelector('button:not(:disabled)') ?? document.getElementById('pick')).focus();
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
