/** The dialog with one asset's timeline. */

import { timelineList } from '../timeline.js';
import { describeStatus, describeType } from '../messages.js';

export class TimelineDialog {
  #api;
  #dialog = document.getElementById('story');
  #parts = Object.fromEntries([...this.#dialog.querySelectorAll('[data-part]')].map((part) => [part.dataset.part, part]));
  #id = '';

  /** `copy` puts a text on the clipboard. */
  constructor(api, copy) {
    this.#api = api;
    this.#parts.close.addEventListener('click', () => this.#dialog.close());
    this.#parts.copy.addEventListener('click', () => copy(this.#id));
  }

  async open(id) {
    this.#id = id;
    this.#parts.id.textContent = id;
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
    this.#parts.title.textContent = title;
    this.#parts.facts.textContent = facts;
    this.#parts.timeline.hidden = !nodes.length;
    this.#parts.timeline.replaceChildren(...nodes);
  }
}
