/** Several files at once: check boxes on the cards, and a bar of what can be done with those that are selected. */

const element = (id) => document.getElementById(id);

export class Selection {
  #gallery;
  #selected = new Set();

  /** `actions` has `copyAll` and `removeAll`, which take a list of items; `removeAll` resolves to whether they were removed. */
  constructor({ gallery, store, filters, actions }) {
    this.#gallery = gallery;
    const act = (id, work) => element(id).addEventListener('click', work);
    act('select', () => this.#setActive(!this.isActive));
    act('select-all', () => { this.#gallery.items.forEach((item) => this.set(item, true)); });
    act('select-done', () => { this.#setActive(false); element('select').focus(); });
    act('copy-selected', () => actions.copyAll([...this.#selected]));
    act('remove-selected', async () => {
      if (await actions.removeAll([...this.#selected])) { this.#setActive(false); element('select').focus(); }
    });
    document.addEventListener('keydown', ({ key }) => {
      if (key === 'Escape' && this.isActive && !document.querySelector('dialog[open]')) element('select-done').click();
    });
    // What is not seen is not acted on.
    for (const type of ['change', 'arrange']) filters.addEventListener(type, () => this.#clear());
    store.addEventListener('remove', ({ detail }) => { this.#selected.delete(detail); this.#show(); });
  }

  get isActive() { return element('select').getAttribute('aria-pressed') === 'true'; }

  set(item, selected) {
    if (selected) this.#selected.add(item); else this.#selected.delete(item);
    this.#gallery.cardOf(item)?.setSelected(selected);
    this.#show();
  }

  toggle(item) { this.set(item, !this.#selected.has(item)); }

  #setActive(active) {
    element('select').setAttribute('aria-pressed', String(active));
    document.body.classList.toggle('is-selecting', active);
    if (!active) this.#clear();
    this.#show();
  }

  #clear() { for (const item of [...this.#selected]) this.set(item, false); }

  #show() {
    const count = this.#selected.size;
    element('selection').hidden = !this.isActive;
    element('selected-count').textContent = count ? `${count} selected` : 'Choose files';
    for (const id of ['copy-selected', 'remove-selected']) element(id).disabled = !count;
  }
}
