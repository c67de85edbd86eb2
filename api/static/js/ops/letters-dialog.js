/** The dialog that shows the dead letters of one group as they are, and from which they can be discarded. */

import { h } from '../dom.js';
import { copyButton } from './id-buttons.js';
import { describeDeath, formatSpan, pluralize, shortId } from './messages.js';

export class LettersDialog {
  #api;
  #onDiscard;
  #order = null;
  #dialog = document.getElementById('letters');
  #elements = Object.fromEntries([...this.#dialog.querySelectorAll('[data-part]')].map((element) => [element.dataset.part, element]));

  /** `onDiscard(order)` asks whether to discard the letters. */
  constructor(api, onDiscard) {
    this.#api = api;
    this.#onDiscard = onDiscard;
    this.#elements.close.addEventListener('click', () => this.#dialog.close());
    this.#elements.discard.addEventListener('click', () => { this.#dialog.close(); this.#onDiscard(this.#order); });
  }

  /** Open the dialog for an order with a group, and load its oldest letters. */
  async open(order) {
    this.#order = order;
    const { queue, group } = order;
    this.#elements.title.textContent = describeDeath(group.code);
    this.#show(`Looking into ${queue}…`, []);
    this.#dialog.showModal();
    try {
      const { items } = await this.#api.deadLetters({ queue, code: group.code, reason: group.reason });
      if (this.#order === order) this.#show(describeShown(items.length, order), items.map(letter));
    } catch (problem) {
      if (this.#order === order) this.#show(problem.message, []);
    }
  }

  #show(facts, letters) {
    this.#elements.facts.textContent = facts;
    this.#elements.list.replaceChildren(...letters);
    this.#elements.discard.hidden = !letters.length;
    this.#elements.list.hidden = !letters.length;
  }
}

function describeShown(shown, { queue, group }) {
  if (!shown) return 'They are not there any more, or somebody else is looking at them right now.';
  return shown < group.count ? `The oldest ${shown} of ${pluralize(group.count, 'message')} in ${queue}` : `${pluralize(shown, 'message')} in ${queue}`;
}

function letter({ message_id: id, reason, died_at: died, body, body_length: length }) {
  const age = formatSpan((Date.now() - Date.parse(died)) / 1000);
  return h('li', {},
    h('p', { class: 'letter-facts' }, h('code', { title: id }, shortId(id)), copyButton(id, 'message'), h('span', { class: 'muted' }, `${age} ago`)),
    reason ? h('p', { class: 'words' }, reason) : null,
    h('pre', { dir: 'auto' }, body || '(nothing)', length > body.length ? `\n… ${length.toLocaleString('en')} characters in all` : ''));
}
