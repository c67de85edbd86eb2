/** Sends dead letters back to their queue: asks first, goes on until all are moved, and says what came of it. */

import { h } from '../dom.js';
import { count, describeDeath } from './messages.js';

const IDLE_ROUNDS = 3; // rounds that moved nothing although more is there: somebody else holds it

export class Redrive {
  #api;
  #ended;
  #dialog = document.getElementById('redrive');
  #parts = Object.fromEntries([...this.#dialog.querySelectorAll('[data-part]')].map((part) => [part.dataset.part, part]));
  #run = null; // the order under way; another one, or none, stops it after its round

  /** `ended` hears in words how it went, each time something was moved. */
  constructor(api, ended) {
    this.#api = api;
    this.#ended = ended;
    // The event comes a little later than the closing; the dialog may be open again by then, for another order.
    this.#dialog.addEventListener('close', () => { if (!this.#dialog.open) this.#run = null; });
  }

  /** `order`: `{queue, number, group, at}`; without a group all of them are meant, without a number it is not known. */
  open(order) {
    const { queue, number, group } = order;
    const letters = number === null ? 'these messages' : count(number, 'message');
    this.#say(`Send ${letters} back to ${queue}?`, 'Mend the cause first. What still fails comes back here, under its reason.');
    this.#parts.why.hidden = !group;
    this.#parts.why.replaceChildren(...(group ? [h('strong', {}, describeDeath(group.code)), ` ${group.reason}`] : []));
    this.#parts.bar.hidden = true;
    this.#run = null;
    this.#offer(['Keep them', () => this.#dialog.close()], ['Send back', () => this.#work(order), 'is-primary']);
    this.#dialog.showModal();
  }

  async #work(order) {
    this.#run = order;
    this.#parts.why.hidden = true;
    this.#parts.bar.hidden = false;
    this.#offer(['Stop', () => this.#dialog.close()]);
    this.#progress(order, 0);
    const { moved, finished, problem } = await this.#moveAll(order);
    if (moved) this.#ended(`${count(moved, 'message')} sent back to ${order.queue}${finished ? '' : ', maybe not all,'}.`);
    if (this.#run === order) this.#finish(order, moved, finished, problem);
  }

  /** Round after round, as each one has a deadline. Letters that come back have died later than `at`, and stay. */
  async #moveAll(order) {
    const { queue, group, at } = order;
    const request = { queue, died_before: at, ...(group ? { group: { code: group.code, reason: group.reason } } : {}) };
    let moved = 0;
    for (let idle = 0; idle < IDLE_ROUNDS && this.#run === order;) {
      let answer;
      try {
        answer = await this.#api.redrive(request);
      } catch (problem) {
        return { moved, finished: false, problem };
      }
      moved += answer.moved;
      idle = answer.moved ? 0 : idle + 1;
      if (answer.finished) return { moved, finished: true, problem: null };
      if (this.#run === order) this.#progress(order, moved);
    }
    return { moved, finished: false, problem: null };
  }

  #progress({ queue, number }, moved) {
    const { bar } = this.#parts;
    if (number && moved) Object.assign(bar, { max: number, value: Math.min(moved, number) });
    else bar.removeAttribute('value');
    this.#say('Sending back…', number ? `${moved.toLocaleString('en')} of ${count(number, 'message')} moved to ${queue}.` : `${count(moved, 'message')} moved to ${queue}.`);
  }

  #finish(order, moved, finished, problem) {
    this.#parts.bar.hidden = true;
    if (problem) {
      this.#say('It broke off', `${problem.message} ${moved ? `${count(moved, 'message')} had been sent back.` : 'None was sent back, none is lost.'}`);
      this.#offer(['Close', () => this.#dialog.close()], ['Try again', () => this.#work(order), 'is-primary']);
      return;
    }
    if (!finished) {
      this.#say('Not all were looked at', `${moved ? count(moved, 'message') : 'None'} sent back to ${order.queue}. More may be there that are meant: somebody else looks at them right now, or thousands of others lie before them. None is lost.`);
      this.#offer(['Close', () => this.#dialog.close()], ['Go on', () => this.#work(order), 'is-primary']);
      return;
    }
    if (moved) this.#say(`${count(moved, 'message')} sent back`, `Now in ${order.queue}. What still fails comes back here.`);
    else this.#say('Nothing was sent back', 'They are not there any more, or somebody else is looking at them right now.');
    this.#offer(['Close', () => this.#dialog.close(), 'is-primary']);
  }

  #say(title, text) {
    this.#parts.title.textContent = title;
    this.#parts.text.textContent = text;
  }

  #offer(...choices) {
    const buttons = choices.map(([words, onclick, tone]) => h('button', { type: 'button', class: `button ${tone ?? ''}`, onclick }, words));
    this.#parts.buttons.replaceChildren(...buttons);
    buttons[0].focus();
  }
}
