/** Who is asking: the bearer token, kept for this tab only and never in the address bar. */

const KEY = 'docfliq.token';
const SCANNER = 'docfliq.scanner';

export class Session {
  /** Which signatures a local stack's scanner has, in its own words. */
  get scanner() { return sessionStorage.getItem(SCANNER) ?? ''; }

  #key;
  #token;

  /** `key` is where the token is kept: the operator's view has one of its own, so that it lends the gallery no rights. */
  constructor(key = KEY) {
    this.#key = key;
    this.#token = sessionStorage.getItem(key);
  }

  get token() { return this.#token; }

  /** The token's claims, for display only: the server decides what they are worth. */
  get claims() { return claimsOf(this.#token); }

  /** Whose token it is; '' when that cannot be read. */
  get subject() { return subjectOf(this.#token); }

  use(token) {
    this.#token = token.trim();
    sessionStorage.setItem(this.#key, this.#token);
  }

  /** Begins the page anew with the token of another user: nothing of this one may be mixed with it. */
  leaveFor(token) {
    sessionStorage.setItem(this.#key, token.trim());
    dispatchEvent(new Event('userchange'));
    location.reload();
  }

  forget() {
    this.#token = null;
    sessionStorage.removeItem(this.#key);
  }

  /** Takes `#token=…` out of the address bar. True when there was one. */
  takeFromAddress() {
    const given = this.cutFromAddress();
    if (given) this.use(given);
    return Boolean(given);
  }

  /** The token in the address bar, which it leaves; '' when there is none. */
  cutFromAddress() {
    const given = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
    if (given) history.replaceState(null, '', location.pathname + location.search);
    return given;
  }

  /** Asks the development helper of a local stack for a token. Production has no such route, and answers 404. */
  async localToken() {
    const response = await fetch('/dev/token', { cache: 'no-store', signal: AbortSignal.timeout(5000) }).catch(() => null);
    if (!response?.ok) return '';
    const { token, scanner } = await response.json();
    sessionStorage.setItem(SCANNER, scanner);
    return token;
  }

  async takeFromLocalStack() {
    const token = await this.localToken();
    if (token) this.use(token);
    return Boolean(token);
  }

  /** True when there is a token to try, from wherever it can be had. */
  async open() {
    return this.takeFromAddress() || Boolean(this.#token) || this.takeFromLocalStack();
  }
}

/** What a token claims; nothing when it is no JWT we can read: the server will say so on the first request. */
function claimsOf(token) {
  try {
    const part = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (c) => c.charCodeAt(0))));
  } catch {
    return {};
  }
}

/** Whose token it is; '' when that cannot be read. */
export function subjectOf(token) { return claimsOf(token).sub ?? ''; }
