/** Tells when another tab of this browser is signed in as somebody else: each tab has its own user. */

import { isolated } from './name-view.js';

const CHANNEL = 'docfliq.users';

export class OtherTabs {
  #session;
  #channel = new BroadcastChannel(CHANNEL);
  #id = crypto.randomUUID();
  /** Users of the other tabs, by the tab's id. */
  #users = new Map();
  #notice = document.getElementById('other-tab');

  constructor(session) {
    this.#session = session;
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    addEventListener('pagehide', () => this.#say('gone'));
    addEventListener('pageshow', ({ persisted }) => { if (persisted) this.announce(); });
  }

  /** Tell the other tabs who is signed in here. They answer. */
  announce() {
    this.#say('here');
    this.#show();
  }

  #say(kind) { this.#channel.postMessage({ kind, tab: this.#id, user: this.#session.subject }); }

  #hear({ kind, tab, user }) {
    if (kind === 'gone') this.#users.delete(tab); else this.#users.set(tab, user);
    if (kind === 'here') this.#say('answer');
    this.#show();
  }

  #show() {
    const mine = this.#session.subject;
    const others = [...new Set(this.#users.values())].filter((user) => user && user !== mine).map(isolated);
    const text = mine && others.length
      ? `Another tab is signed in as ${others.join(' and ')}. Here you are ${isolated(mine)}, to whom the files of this tab belong.`
      : '';
    if (this.#notice.textContent !== text) this.#notice.textContent = text;
    this.#notice.hidden = !text;
  }
}
