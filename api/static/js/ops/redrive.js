/** The dialog that redrives dead letters: asks first, repeats until all are moved, and shows the result. */

import { h } from '../dom.js';
import { describeDeath, pluralize } from './messages.js';

/** Rounds in a row that may move nothing while others hold the messages. */
const MAX_IDLE_ROUNDS = 3;

export class Redrive {
  #api;
  #onEnd;
  #dialog = document.getElementById('redrive');
  #elements = Object.fromEntries([...this.#dialog.querySelectorAll('[data-part]')].map((element) => [element.dataset.part, element]));
  #running = null; // The order that runs. When it changes, the earlier run stops after its round.

  /** `onEnd` is called with a text after each run that moved something. */
  constructor(api, onEnd) {
    this.#api = api;
    this.#onEnd = onEnd;
    // The event fires after the dialog closed. By then the dialog may be open again for another order.
    this.#dialog.addEventListener('close', () => { if (!this.#dialog.open) this.#running = null; });
  }

  /** Open the dialog for an order: `{queue, number, group, at}`. A null group means all; a null number is unknown. */
  open(order) {
    const { queue, number, group } = order;
    const messages = number === null ? 'these messages' : pluralize(number, 'message');
    this.#setText(`Send ${messages} back to ${queue}?`, 'Mend the cause first. What still fails comes back here, under its reason.');
    this.#elements.why.hidden = !group;
    this.#elements.why.replaceChildren(...(group ? [h('strong', {}, describeDeath(group.code)), ` ${group.reason}`] : []));
    this.#elements.bar.hidden = true;
    this.#running = null;
    this.#setButtons(['Keep them', () => this.#dialog.close()], ['Send back', () => this.#start(order), 'is-primary']);
    this.#dialog.showModal();
  }

  async #start(order) {
    this.#running = order;
    this.#elements.why.hidden = true;
    this.#elements.bar.hidden = false;
    this.#setButtons(['Stop', () => this.#dialog.close()]);
    this.#showProgress(order, 0);
    const { moved, finished, problem } = await this.#moveAll(order);
    if (moved) this.#onEnd(`${pluralize(moved, 'message')} sent back to ${order.queue}${finished ? '' : ', maybe not all,'}.`);
    if (this.#running === order) this.#showResult(order, moved, finished, problem);
  }

  /** Request rounds until all is moved; each has a deadline. Messages that fail again have died after `at`, and stay. */
  async #moveAll(order) {
    const { queue, group, at } = order;
    const request = { queue, died_before: at, ...(group ? { group: { code: group.code, reason: group.reason } } : {}) };
    let moved = 0;
    for (let idle = 0; idle < MAX_IDLE_ROUNDS && this.#running === order;) {
      let response;
      try {
        response = await this.#api.redrive(request);
      } catch (problem) {
        return { moved, finished: false, problem };
      }
      moved += response.moved;
      idle = response.moved ? 0 : idle + 1;
      if (response.finished) return { moved, finished: true, problem: null };
      if (this.#running === order) this.#showProgress(order, moved);
    }
    return { moved, finished: false, problem: null };
  }

  #showProgress({ queue, number }, moved) {
    const { bar } = this.#elements;
    if (number && moved) Object.assign(bar, { max: number, value: Math.min(moved, number) });
    else bar.removeAttribute('value');
    this.#setText('Sending back…', number ? `${moved.toLocaleString('en')} of ${pluralize(number, 'message')} moved to ${queue}.` : `${pluralize(moved, 'message')} moved to ${queue}.`);
  }

  #showResult(order, moved, finished, problem) {
    this.#elements.bar.hidden = true;
    if (problem) {
      this.#setText('It broke off', `${problem.message} ${moved ? `${pluralize(moved, 'message')} had been sent back.` : 'None was sent back, none is lost.'}`);
      this.#setButtons(['Close', () => this.#dialog.close()], ['Try again', () => this.#start(order), 'is-primary']);
      return;
    }
    if (!finished) {
      this.#setText('Not all were looked at', `${moved ? pluralize(moved, 'message') : 'None'} sent back to ${order.queue}. More may be there that are meant: somebody else looks at them right now, or thousands of others lie before them. None is lost.`);
      this.#setButtons(['Close', () => this.#dialog.close()], ['Go on', () => this.#start(order), 'is-primary']);
      return;
    }
    if (moved) this.#setText(`${pluralize(moved, 'message')} sent back`, `Now in ${order.queue}. What still fails comes back here.`);
    else this.#setText('Nothing was sent back', 'They are not there any more, or somebody else is looking at them right now.');
    this.#setButtons(['Close', () => this.#dialog.close(), 'is-primary']);
  }

  #setText(title, text) {
    this.#elements.title.textContent = title;
    this.#elements.text.textContent = text;
  }

  #setButtons(...choices) {
    const buttons = choices.map(([text, onclick, tone]) => h('button', { type: 'button', class: `button ${tone ?? ''}`, onclick }, text));
    this.#elements.buttons.replaceChildren(...buttons);
    buttons[0].focus();
  }
}
