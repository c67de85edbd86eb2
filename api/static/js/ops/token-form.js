/** Asks for an administrator's token, and says why the last one would not do. */

const element = (id) => document.getElementById(id);

export class TokenForm {
  #session;
  #asking = null;

  constructor(session) { this.#session = session; }

  /** Resolves when another token was given. `why` is what was wrong with the last one, if there was one. */
  ask(why = '') {
    this.#asking ??= this.#given().finally(() => { this.#asking = null; });
    element('refusal').hidden = !why;
    element('refusal').textContent = why;
    element(why ? 'token' : 'gate-title').focus();
    return this.#asking;
  }

  #given() {
    this.#show(true);
    return new Promise((resolve) => {
      element('token-form').addEventListener('submit', (event) => {
        event.preventDefault();
        this.#session.use(element('token').value);
        element('token').value = '';
        this.#show(false);
        resolve(true);
      }, { once: true });
    });
  }

  #show(shown) {
    for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
    element('gate').hidden = !shown;
    element('board').hidden = shown;
    element('who').hidden = shown;
  }
}

/** Why a token did not open the view, in words. The claims are for display; the server has decided. */
export function refusal({ sub, role }) {
  const owner = sub ? `It belongs to ${sub}, whose role is “${role ?? 'user'}”.` : '';
  return `This token is not an administrator’s. ${owner}`.trim();
}
