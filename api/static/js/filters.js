/** The form above the files: which are shown, in which order and how. */

/** Milliseconds without a key before the files are searched. */
const TYPING_MS = 250;
const VIEW = 'docfliq.view';

const ORDERS = {
  oldest: (a, b) => Date.parse(a.created_at) - Date.parse(b.created_at),
  name: (a, b) => a.original_filename.localeCompare(b.original_filename, undefined, { numeric: true }),
  size: (a, b) => (b.size ?? 0) - (a.size ?? 0),
};

export class Filters extends EventTarget {
  #form = document.getElementById('filters');
  #grid = document.getElementById('grid');
  #typing;

  /** It sends `change` when other files are to be loaded, and `arrange` when those that are there stand otherwise. */
  constructor() {
    super();
    this.#form.view.value = localStorage.getItem(VIEW) ?? 'grid';
    this.#showView();
    this.#form.addEventListener('submit', (event) => event.preventDefault());
    for (const control of this.#form.elements) { // Some stand outside of the form.
      if (control.name !== 'search') control.addEventListener('change', () => this.#onChange(control.name));
    }
    this.#form.search.addEventListener('input', () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#onChange('search'), TYPING_MS);
    });
  }

  get type() { return this.#form.type.value; }
  get status() { return this.#form.status.value; }
  get isNarrowed() { return Boolean(this.type || this.status || this.#words.length); }
  /** The service's own order, in which the files are loaded. */
  get sort() { return this.#form.sort.value === 'oldest' ? 'created_at' : '-created_at'; }
  /** Whether files are to be shown of which the service does not tell first: all must be loaded for it. */
  get needsAll() { return ['name', 'size'].includes(this.#form.sort.value) || this.#words.length > 0; }

  clear() {
    this.#form.type.value = this.#form.status.value = this.#form.search.value = '';
    this.dispatchEvent(new Event('change'));
  }

  /** Return the items that match, in the order that was chosen. Files that are sent match always, and stand first. */
  apply(items) {
    const words = this.#words;
    const matches = ({ asset, upload }) => (upload || ((!this.type || asset.asset_type === this.type) && (!this.status || asset.status === this.status)))
      && words.every((word) => comparable(asset.original_filename).includes(word));
    const found = items.filter(matches);
    const order = ORDERS[this.#form.sort.value];
    if (!order) return found;
    const isSent = ({ upload }) => Boolean(upload);
    return [...found.filter(isSent), ...found.filter((item) => !isSent(item)).sort((a, b) => order(a.asset, b.asset))];
  }

  get #words() { return comparable(this.#form.search.value).split(/\s+/).filter(Boolean); }

  #onChange(name) {
    if (name === 'view') { localStorage.setItem(VIEW, this.#form.view.value); this.#showView(); return; }
    const loads = ['type', 'status', 'sort'].includes(name) || this.needsAll;
    this.dispatchEvent(new Event(loads ? 'change' : 'arrange'));
  }

  #showView() { this.#grid.classList.toggle('is-list', this.#form.view.value === 'list'); }
}

/** Return a text in the form in which names are compared: without case, accents, vowel marks and Arabic's elongations. */
function comparable(text) { return text.normalize('NFKD').replace(/[\p{Mn}\u0640]/gu, '').toLowerCase(); }
