/** The bar of all uploads together: how far they are, and buttons to pause, cancel or send them again. */

import { describeTimeLeft, formatBytes } from './messages.js';

const element = (id) => document.getElementById(id);
/** Milliseconds of sending after which the time left is estimated. */
const ESTIMATE_AFTER_MS = 3000;

export class TransferBar {
  #uploader;
  #pace = null;
  #isDrawing = false;
  #isDismissed = false;

  /** `cancelAll()` asks the user and cancels what is not sent yet. */
  constructor({ uploader, store, cancelAll }) {
    this.#uploader = uploader;
    for (const type of ['add', 'change', 'remove']) store.addEventListener(type, () => this.#drawSoon());
    element('pause-all').addEventListener('click', () => (uploader.isPaused ? uploader.resumeAll() : uploader.pauseAll()));
    element('cancel-all').addEventListener('click', cancelAll);
    element('retry-failed').addEventListener('click', () => uploader.transfer.failed.forEach((item) => uploader.retry(item)));
    element('transfer-close').addEventListener('click', () => { this.#isDismissed = true; this.#draw(); element('pick').focus(); });
  }

  /** Draw once in a frame: a thousand files report their progress. */
  #drawSoon() {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    setTimeout(() => { this.#isDrawing = false; this.#draw(); }, 50); // Not a frame: hidden tabs have none.
  }

  #draw() {
    const { isBusy, isPaused, transfer } = this.#uploader;
    const totals = transfer.count();
    if (isBusy) this.#isDismissed = false;
    this.#pace = isBusy && !isPaused ? this.#pace ?? { at: Date.now(), sent: totals.sent } : null;
    element('transfer').classList.toggle('is-busy', isBusy);
    element('transfer').hidden = this.#isDismissed || totals.files + totals.failed === 0;
    setText('transfer-title', describeState(totals, isBusy, isPaused));
    setText('transfer-facts', isBusy ? this.#describeProgress(totals) : '');
    Object.assign(element('transfer-progress'), { hidden: !isBusy, max: Math.max(1, totals.bytes), value: totals.sent });
    element('transfer-progress').classList.toggle('is-paused', isPaused);
    for (const id of ['pause-all', 'cancel-all']) element(id).hidden = !isBusy;
    element('pause-all').textContent = isPaused ? 'Go on' : 'Pause all';
    element('retry-failed').hidden = isBusy || !transfer.failed.length;
    element('transfer-close').hidden = isBusy;
  }

  #describeProgress({ files, done, bytes, sent }) {
    const facts = [`${done} of ${files} sent`, `${formatBytes(sent)} of ${formatBytes(bytes)}`];
    const ms = Date.now() - (this.#pace?.at ?? Date.now());
    const speed = ms > ESTIMATE_AFTER_MS ? (sent - this.#pace.sent) / ms : 0;
    if (speed > 0) facts.push(describeTimeLeft((bytes - sent) / speed / 1000));
    return facts.join(' · ');
  }
}

/** Say in a few words what goes on. Screen readers read it when it changes, so it holds no number that grows. */
function describeState({ files, failed }, isBusy, isPaused) {
  const noun = (count) => `${count} ${count === 1 ? 'file' : 'files'}`;
  if (isBusy) return isPaused ? 'Paused' : `Sending ${noun(files)}`;
  if (!files) return `${noun(failed)} not sent`;
  return `${noun(files)} sent${failed ? `, ${failed} not` : ''}`;
}

function setText(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}
