/** The form for an administrator's token. */

const element = (id) => document.getElementById(id);

export class TokenForm {
  #session;
  #asking = null;

  constructor(session) { this.#session = session; }

  /** Ask for a token and resolve when one was entered. `why` says why the last token was refused, if there was one. */
  ask(why = '') {
    this.#asking ??= this.#waitForToken().finally(() => { this.#asking = null; });
    element('refusal').hidden = !why;
    element('refusal').textContent = why;
    element(why ? 'token' : 'gate-title').focus();
    return this.#asking;
  }

  #waitForToken() {
    this.#toggle(true);
    return new Promise((resolve) => {
      element('token-form').addEventListener('submit', (event) => {
        event.preventDefault();
        this.#session.use(element('token').value);
        element('token').value = '';
        this.#toggle(false);
        resolve(true);
      }, { once: true });
    });
  }

  #toggle(isShown) {
    for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
    element('gate').hidden = !isShown;
    element('board').hidden = isShown;
    element('who').hidden = isShown;
  }
}

/** Explain why a token was refused. The claims are for display only; the server has decided. */
export function explainRefusal({ sub, role }) {
  const owner = sub ? `It belongs to ${sub}, whose role is “${role ?? 'user'}”.` : '';
  return `This token is not an administrator’s. ${owner}`.trim();
}
