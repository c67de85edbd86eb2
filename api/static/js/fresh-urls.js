/**
 * Keep playing past the end of a URL. It needs no other file: copy it. `docs/playback.md` shows it with several players.
 *
 * Everywhere `ask` is a function that returns the answer of `GET /assets/{id}/url`, freshly asked: `{url, expires_at}`.
 */

const MINUTE_MS = 60_000;
/** Milliseconds after which a native player asks again, if the API did not answer. */
const RETRY_MS = 5000;
/** How often in a minute a refusal is answered by asking again. A file that is truly refused ends the playback. */
const MAX_REFUSALS = 4;
/** Statuses of a URL that has ended, or was signed with a key that was changed. A storage's answer without CORS headers shows as 0. */
const REFUSED = new Set([0, 401, 403]);

/** Compute in how many milliseconds to ask again: a minute before the end, or in the last quarter of a shorter life. */
function pauseUntilDue(end) {
  const left = Date.parse(end) - Date.now();
  if (!end) return Infinity;
  return left > 0 ? left - Math.min(MINUTE_MS, left / 4) : MINUTE_MS; // A clock that is far ahead must not ask each time.
}

/** Tell `may()` whether another refusal may be answered. */
class Refusals {
  #times = [];

  may() {
    this.#times = [...this.#times.filter((time) => time > Date.now() - MINUTE_MS), Date.now()];
    return this.#times.length <= MAX_REFUSALS;
  }
}

/**
 * For players that let their requests be changed: replaces the URL of every playlist and segment by its newest. Source,
 * buffer and position stay as they are. It asks at a request and needs no timer, so that hours of pause do no harm.
 */
export class FreshUrls {
  #ask;
  #query = '';
  #due = 0;
  #asking = null;
  #refusals = new Refusals();
  #playlists = new Set();
  #segments = new Map();

  constructor(ask) { this.#ask = ask; }

  /** Return the URL to load. */
  async open() { return this.#renew(); }

  /** Return the newest URL of the file that `url` leads to, after asking for it if need be. */
  async fresh(url) {
    await this.renewIfDue();
    return this.swap(url);
  }

  /** Return the newest URL that is known of the file that `url` leads to. */
  swap(url) {
    const [file] = url.split('?');
    if (!file.endsWith('.m3u8')) return this.#segments.get(file) ?? url;
    this.#playlists.add(file);
    return file + this.#query;
  }

  /** Ask if the URLs end soon, or have ended. If that fails, the old ones are good for a while, and the next call asks. */
  async renewIfDue() {
    if (this.#asking || Date.now() >= this.#due) await this.#renew().catch(() => {});
  }

  /** Call it with the status of every failed request. Returns whether it was a refusal and there are new URLs to go on with. */
  async refused(status) {
    return REFUSED.has(status) && this.#refusals.may() && this.#renew().then(() => true, () => false);
  }

  #renew() {
    this.#asking ??= this.#take().finally(() => { this.#asking = null; });
    return this.#asking;
  }

  async #take() {
    const { url, expires_at: end } = await this.#ask();
    this.#query = new URL(url).search;
    await Promise.all([...this.#playlists].map((file) => this.#read(file)));
    this.#due = Date.now() + pauseUntilDue(end);
    return url;
  }

  /** Read where the segments of a playlist are now. Each has a signature of its own. */
  async #read(file) {
    const answer = await fetch(file + this.#query);
    if (!answer.ok) throw new Error(`the playlist answered ${answer.status}`);
    for (const [url] of (await answer.text()).matchAll(/https?:[^"\s]+/g)) this.#segments.set(url.split('?')[0], url);
  }
}

/**
 * Play natively: files, and HLS in browsers that know it. Such a player only takes another source, which costs a moment, so
 * one that is paused takes it when it goes on. Position, speed and full screen are kept. Returns the function that stops it.
 */
export async function playNatively(media, ask) {
  const refusals = new Refusals();
  const events = new AbortController();
  let timer = 0;

  async function take() {
    const { url, expires_at: end } = await ask();
    if (events.signal.aborted) return;
    const { currentTime, paused, playbackRate } = media;
    media.src = url; // This resets all three.
    media.currentTime = currentTime;
    media.playbackRate = playbackRate;
    if (!paused) media.play().catch(() => {}); // It shows as paused.
    clearTimeout(timer);
    const milliseconds = pauseUntilDue(end);
    if (milliseconds < Infinity) timer = setTimeout(renew, milliseconds);
  }

  function renew() {
    if (media.paused) media.addEventListener('play', takeOrWait, { once: true, signal: events.signal });
    else takeOrWait();
  }

  function takeOrWait() {
    take().catch(() => {
      clearTimeout(timer); // An error of the player may have asked beside the timer.
      if (!events.signal.aborted) timer = setTimeout(renew, RETRY_MS);
    });
  }

  media.addEventListener('error', () => { if (refusals.may()) takeOrWait(); }, { signal: events.signal });
  await take();
  return () => { events.abort(); clearTimeout(timer); };
}
