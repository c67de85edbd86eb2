/** The dialog that shows one asset's timeline. */

import { describeStatus, describeType } from '../messages.js';
import { timelineList } from '../timeline.js';

export class TimelineDialog {
  #api;
  #dialog = document.getElementById('story');
  #elements = Object.fromEntries([...this.#dialog.querySelectorAll('[data-part]')].map((element) => [element.dataset.part, element]));
  #id = '';

  /** `copy(text)` copies a text to the clipboard. */
  constructor(api, copy) {
    this.#api = api;
    this.#elements.close.addEventListener('click', () => this.#dialog.close());
    this.#elements.copy.addEventListener('click', () => copy(this.#id));
  }

  async open(id) {
    this.#id = id;
    this.#elements.id.textContent = id;
    this.#show('Asset', 'Looking…', []);
    this.#dialog.showModal();
    try {
      const [asset, { items }] = await Promise.all([this.#api.asset(id), this.#api.timeline(id)]);
      if (this.#id !== id) return;
      this.#show(asset.original_filename, [describeType(asset.asset_type), describeStatus(asset.status), asset.code].filter(Boolean).join(' · '), [timelineList(items)]);
    } catch (problem) {
      if (this.#id === id) this.#show('Asset', problem.status === 404 ? 'The service knows no such asset.' : problem.message, []);
    }
  }

  #show(title, facts, nodes) {
    this.#elements.title.textContent = title;
    this.#elements.facts.textContent = facts;
    this.#elements.timeline.hidden = !nodes.length;
    this.#elements.timeline.replaceChildren(...nodes);
  }
}
