/** Asks for a new token when one is refused. The user never changes without a click. */

import { Problem } from './api.js';
import { subjectOf } from './session.js';

const element = (id) => document.getElementById(id);

export class SignIn {
  #session;
  #onChange;
  #asking = null;
  #declined = false;

  /** `onChange` is called when a new token is in use, and when the sign-in dialog was dismissed. */
  constructor(session, onChange) {
    this.#session = session;
    this.#onChange = onChange;
  }

  /** Whether the sign-in dialog was dismissed, with no token since. */
  get declined() { return this.#declined; }

  /**
   * Get a new token: from the local stack if it is for the same user, else from the dialog. Calls share one dialog. Resolve
   * to true with a token; throw `Problem` (`signed_out`) if the dialog is dismissed. If the user changes, the page reloads
   * and the promise never settles, so that no request of the old user continues with the new user's token.
   */
  renew() {
    this.#asking ??= this.#renew().finally(() => { this.#asking = null; });
    return this.#asking;
  }

  /** Get a new token for a request that no user action caused. It does not repeat a dialog that was dismissed. */
  async renewInBackground() {
    if (this.#declined) throw new Problem(401, { code: 'signed_out' });
    return this.renew();
  }

  /** Use `token`. If it is another user's, reload the page. */
  async useToken(token) {
    const before = this.#session.subject;
    if (before && subjectOf(token) && subjectOf(token) !== before) {
      this.#session.switchUser(token);
      await new Promise(() => {}); // The page is reloading.
    }
    this.#session.use(token);
    this.#declined = false;
    this.#onChange();
  }

  async #renew() {
    const user = this.#session.subject;
    const local = await this.#session.fetchLocalToken();
    const isSameUser = local && (user ? subjectOf(local) === user : !this.#session.isSignedOut);
    const token = isSameUser ? local : await this.#askInDialog(user, local);
    if (!token) {
      this.#declined = true;
      this.#onChange();
      throw new Problem(401, { code: 'signed_out' });
    }
    await this.useToken(token);
    return true;
  }

  /** Ask for a token in the dialog. Resolve to '' if it is closed. */
  #askInDialog(user, local) {
    const [dialog, form, field, other] = ['sign-in', 'token-form', 'token', 'sign-in-other'].map(element);
    element('sign-in-again').hidden = !user;
    element('sign-in-user').textContent = user;
    other.hidden = !local;
    other.textContent = user ? `Change to ${subjectOf(local)}` : `Sign in as ${subjectOf(local)}`;
    field.value = '';
    if (!dialog.open) dialog.showModal();
    const closed = new AbortController();
    return new Promise((resolve) => {
      const end = (token) => { closed.abort(); field.value = ''; dialog.close(); resolve(token); };
      const on = (target, type, act) => target.addEventListener(type, act, { signal: closed.signal });
      on(form, 'submit', (event) => { event.preventDefault(); end(field.value.trim()); });
      on(other, 'click', () => end(local));
      on(element('sign-in-later'), 'click', () => end(''));
      // The close event of an earlier dialog may come late on a busy machine, when this one is open already.
      on(dialog, 'close', () => { if (!dialog.open) end(''); });
    });
  }
}
