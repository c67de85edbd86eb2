/** Asks who sits here when a token is refused, and never changes the user without being told to. */

import { Problem } from './api.js';
import { subjectOf } from './session.js';

const element = (id) => document.getElementById(id);

export class SignIn {
  #session;
  #changed;
  #asking = null;
  #declined = false;

  /** `changed` hears that another token of the same user, or a first one, is in use, or that nobody wants to sign in. */
  constructor(session, changed) {
    this.#session = session;
    this.#changed = changed;
  }

  /** Whether the question was sent away, and not answered since. */
  get declined() { return this.#declined; }

  /**
   * Another token for a refused one: from the local stack if it is for the same user, else from whoever sits here. One
   * question at a time. True when there is one; raises `Problem` (`signed_out`) when the question is sent away. When the user
   * changes, the page begins anew, and this never settles: nothing of the last user may go on with the token of the next.
   */
  renew() {
    this.#asking ??= this.#renew().finally(() => { this.#asking = null; });
    return this.#asking;
  }

  /** The same for what nobody has just asked for: it does not repeat a question that was sent away. */
  async renewUnasked() {
    if (this.#declined) throw new Problem(401, { code: 'signed_out' });
    return this.renew();
  }

  /** Begins anew as the user of `token` if that is another one; else only takes it. */
  async take(token) {
    const before = this.#session.subject;
    if (before && subjectOf(token) && subjectOf(token) !== before) {
      this.#session.leaveFor(token);
      await new Promise(() => {}); // The page is on its way out.
    }
    this.#session.use(token);
    this.#declined = false;
    this.#changed();
  }

  async #renew() {
    const user = this.#session.subject;
    const local = await this.#session.localToken();
    const fits = local && (!user || subjectOf(local) === user);
    const token = fits ? local : await this.#fromForm(user, local);
    if (!token) {
      this.#declined = true;
      this.#changed();
      throw new Problem(401, { code: 'signed_out' });
    }
    await this.take(token);
    return true;
  }

  /** What was typed or chosen; '' when the dialog was closed. */
  #fromForm(user, local) {
    const [dialog, form, field, other] = ['sign-in', 'token-form', 'token', 'sign-in-other'].map(element);
    element('sign-in-again').hidden = !user;
    element('sign-in-user').textContent = user;
    other.hidden = !local;
    other.textContent = `Change to ${subjectOf(local)}`;
    field.value = '';
    if (!dialog.open) dialog.showModal();
    const over = new AbortController();
    return new Promise((resolve) => {
      const end = (token) => { over.abort(); field.value = ''; dialog.close(); resolve(token); };
      const on = (target, type, act) => target.addEventListener(type, act, { signal: over.signal });
      on(form, 'submit', (event) => { event.preventDefault(); end(field.value.trim()); });
      on(other, 'click', () => end(local));
      on(element('sign-in-later'), 'click', () => end(''));
      // The event of an earlier question comes late on a busy machine, when this one may be open already.
      on(dialog, 'close', () => { if (!dialog.open) end(''); });
    });
  }
}
