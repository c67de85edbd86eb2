/** The bearer token of the present user, kept for this tab only and never left in the address bar. */

const KEY = 'docfliq.token';
const SCANNER = 'docfliq.scanner';
/** Set after a sign-out, so that the local stack's token is not taken again unasked. */
const SIGNED_OUT = 'docfliq.signed-out';

export class Session {
  /** The signatures of a local stack's virus scanner, as it describes them; '' elsewhere. */
  get scanner() { return sessionStorage.getItem(SCANNER) ?? ''; }

  #key;
  #token;

  /** `key` is the token's key in sessionStorage. The operator's view has its own, so that the gallery gets no operator rights. */
  constructor(key = KEY) {
    this.#key = key;
    this.#token = sessionStorage.getItem(key);
  }

  get token() { return this.#token; }

  /** The token's claims, for display only. The server verifies them. */
  get claims() { return decodeClaims(this.#token); }

  /** The token's subject; '' if it cannot be read. */
  get subject() { return subjectOf(this.#token); }

  use(token) {
    this.#token = token.trim();
    sessionStorage.setItem(this.#key, this.#token);
    sessionStorage.removeItem(SIGNED_OUT);
  }

  /** Reload the page with another user's token, so that nothing of the present user remains. */
  switchUser(token) {
    sessionStorage.setItem(this.#key, token.trim());
    dispatchEvent(new Event('userchange'));
    location.reload();
  }

  forget() {
    this.#token = null;
    sessionStorage.removeItem(this.#key);
  }

  /** Forget the token, also after a reload. */
  signOut() {
    this.forget();
    sessionStorage.setItem(SIGNED_OUT, 'yes');
  }

  /** Whether the user signed out in this tab. */
  get isSignedOut() { return sessionStorage.getItem(SIGNED_OUT) !== null; }

  /** Use the token of `#token=…` in the address bar. Return true if there was one. */
  useAddressToken() {
    const token = this.popAddressToken();
    if (token) this.use(token);
    return Boolean(token);
  }

  /** Remove the token from the address bar and return it; '' without one. */
  popAddressToken() {
    const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
    if (token) history.replaceState(null, '', location.pathname + location.search);
    return token;
  }

  /** Request a token from a local stack. Return '' in production, where the route answers 404. */
  async fetchLocalToken() {
    const response = await fetch('/dev/token', { cache: 'no-store', signal: AbortSignal.timeout(5000) }).catch(() => null);
    if (!response?.ok) return '';
    const { token, scanner } = await response.json();
    sessionStorage.setItem(SCANNER, scanner);
    return token;
  }

  async useLocalToken() {
    const token = await this.fetchLocalToken();
    if (token) this.use(token);
    return Boolean(token);
  }

  /** Find a token: in the address bar, in this tab, or at the local stack. Return whether there is one. */
  async open() {
    if (this.useAddressToken() || this.#token) return true;
    return !this.isSignedOut && this.useLocalToken();
  }
}

/** Decode a token's claims. Return {} for a token that is no JWT; the server rejects it on the first request. */
function decodeClaims(token) {
  try {
    const part = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (c) => c.charCodeAt(0))));
  } catch {
    return {};
  }
}

/** Return the token's subject, or '' if it cannot be read. */
export function subjectOf(token) { return decodeClaims(token).sub ?? ''; }
