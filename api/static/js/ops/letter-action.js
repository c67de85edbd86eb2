/** The dialog that redrives or discards dead letters: asks first, repeats until all are done, and shows the result. */

import { h } from '../dom.js';
import { describeDeath, pluralize } from './messages.js';

/** Rounds in a row that may do nothing while others hold the messages. */
const MAX_IDLE_ROUNDS = 3;

/** What can be done with dead letters: `request` does one round and resolves to `{count, finished}`; the others are texts. */
const ACTIONS = {
  redrive: {
    request: async (api, body) => { const { moved, finished } = await api.redrive(body); return { count: moved, finished }; },
    question: (messages, queue) => `Send ${messages} back to ${queue}?`,
    advice: 'Mend the cause first. What still fails comes back here, under its reason.',
    start: 'Send back', doing: 'Sending back…', nothing: 'Nothing was sent back',
    progress: (queue) => `moved to ${queue}`,
    done: 'sent back',
    outcome: (queue) => `sent back to ${queue}`,
    after: (queue) => `Now in ${queue}. What still fails comes back here.`,
  },
  discard: {
    request: async (api, body) => { const { discarded, finished } = await api.discard(body); return { count: discarded, finished }; },
    question: (messages, queue) => `Discard ${messages} of ${queue}?`,
    advice: 'They are deleted for good, and nothing is done for them. This cannot be undone.',
    start: 'Discard', doing: 'Discarding…', nothing: 'Nothing was discarded',
    progress: (queue) => `of ${queue} discarded`,
    done: 'discarded',
    outcome: (queue) => `of ${queue} discarded`,
    after: () => 'They are gone.',
  },
};

export class LetterAction {
  #api;
  #onEnd;
  #action = ACTIONS.redrive;
  #dialog = document.getElementById('letter-action');
  #elements = Object.fromEntries([...this.#dialog.querySelectorAll('[data-part]')].map((element) => [element.dataset.part, element]));
  #running = null; // The order that runs. When it changes, the earlier run stops after its round.

  /** `onEnd` is called with a text after each run that did something. */
  constructor(api, onEnd) {
    this.#api = api;
    this.#onEnd = onEnd;
    // The event fires after the dialog closed. By then the dialog may be open again for another order.
    this.#dialog.addEventListener('close', () => { if (!this.#dialog.open) this.#running = null; });
  }

  /** Open the dialog for an order: `{queue, number, group, at}`. A null group means all; a null number is unknown. */
  open(order, action) {
    this.#action = ACTIONS[action];
    const { queue, number, group } = order;
    const messages = number === null ? 'these messages' : pluralize(number, 'message');
    this.#setText(this.#action.question(messages, queue), this.#action.advice);
    this.#elements.why.hidden = !group;
    this.#elements.why.replaceChildren(...(group ? [h('strong', {}, describeDeath(group.code)), ` ${group.reason}`] : []));
    this.#elements.bar.hidden = true;
    this.#running = null;
    const tone = action === 'discard' ? 'is-danger is-solid' : 'is-primary';
    this.#setButtons(['Keep them', () => this.#dialog.close()], [this.#action.start, () => this.#start(order), tone]);
    this.#dialog.showModal();
  }

  async #start(order) {
    this.#running = order;
    this.#elements.why.hidden = true;
    this.#elements.bar.hidden = false;
    this.#setButtons(['Stop', () => this.#dialog.close()]);
    this.#showProgress(order, 0);
    const { count, finished, problem } = await this.#doAll(order);
    if (count) this.#onEnd(`${pluralize(count, 'message')} ${this.#action.outcome(order.queue)}${finished ? '' : ', maybe not all,'}.`);
    if (this.#running === order) this.#showResult(order, count, finished, problem);
  }

  /** Request rounds until all is done; each has a deadline. Messages that fail again have died after `at`, and stay. */
  async #doAll(order) {
    const { queue, group, at } = order;
    const { request } = this.#action;
    const body = { queue, died_before: at, ...(group ? { group: { code: group.code, reason: group.reason } } : {}) };
    let count = 0;
    for (let idle = 0; idle < MAX_IDLE_ROUNDS && this.#running === order;) {
      let round;
      try {
        round = await request(this.#api, body);
      } catch (problem) {
        return { count, finished: false, problem };
      }
      count += round.count;
      idle = round.count ? 0 : idle + 1;
      if (round.finished) return { count, finished: true, problem: null };
      if (this.#running === order) this.#showProgress(order, count);
    }
    return { count, finished: false, problem: null };
  }

  #showProgress({ queue, number }, count) {
    const { bar } = this.#elements;
    if (number && count) Object.assign(bar, { max: number, value: Math.min(count, number) });
    else bar.removeAttribute('value');
    const messages = number ? `${count.toLocaleString('en')} of ${pluralize(number, 'message')}` : pluralize(count, 'message');
    this.#setText(this.#action.doing, `${messages} ${this.#action.progress(queue)}.`);
  }

  #showResult(order, count, finished, problem) {
    const { done, nothing, after, outcome } = this.#action;
    this.#elements.bar.hidden = true;
    if (problem) {
      this.#setText('It broke off', `${problem.message} ${count ? `${pluralize(count, 'message')} had been ${done}.` : `None was ${done}, none is lost.`}`);
      this.#setButtons(['Close', () => this.#dialog.close()], ['Try again', () => this.#start(order), 'is-primary']);
      return;
    }
    if (!finished) {
      this.#setText('Not all were looked at', `${count ? pluralize(count, 'message') : 'None'} ${outcome(order.queue)}. More may be there that are meant: somebody else looks at them right now, or thousands of others lie before them. None is lost.`);
      this.#setButtons(['Close', () => this.#dialog.close()], ['Go on', () => this.#start(order), 'is-primary']);
      return;
    }
    if (count) this.#setText(`${pluralize(count, 'message')} ${done}`, after(order.queue));
    else this.#setText(nothing, 'They are not there any more, or somebody else is looking at them right now.');
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
