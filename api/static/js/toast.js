/** Toasts: short messages in a corner, read by screen readers. */

import { h, icon, iconButton } from './dom.js';

const SHOWN_MS = 7000;
const MAX_TOASTS = 4;
const region = document.getElementById('toasts');

/**
 * Show `text`. Screen readers read an error (`bad`) at once, any other tone when they are idle. A toast replaces the one of
 * the same `topic`.
 */
export function toast(text, tone = 'plain', topic = '') {
  const box = h('div', { class: 'toast', 'data-tone': tone, 'data-topic': topic, role: tone === 'bad' ? 'alert' : 'status' });
  const remove = () => box.remove();
  if (topic) shownToast(topic)?.remove();
  addNotice(box);
  // A live region announces only changes, so the text is added after the box.
  box.append(icon(tone === 'bad' ? 'alert' : 'check'), h('p', {}, text), iconButton('close', 'Dismiss', remove));
  for (const old of [...region.querySelectorAll('.toast:not(.is-calm)')].slice(0, -MAX_TOASTS)) old.remove();
  let timer = setTimeout(remove, SHOWN_MS);
  for (const type of ['pointerenter', 'focusin']) box.addEventListener(type, () => clearTimeout(timer));
  for (const type of ['pointerleave', 'focusout']) {
    box.addEventListener(type, () => { clearTimeout(timer); timer = setTimeout(remove, SHOWN_MS); });
  }
}

/** Find the toast of a topic; null if it is gone. */
export function shownToast(topic) { return region.querySelector(`[data-topic="${topic}"]`); }

/** Add a box to the toasts. The caller removes it. */
export function addNotice(box) {
  host().append(region);
  region.append(box);
}

export function showError(problem) { toast(problem.message, 'bad'); }

/** Return the open dialog, or the body. With a modal dialog everything outside of it is inert, and screen readers skip it. */
function host() {
  return [...document.querySelectorAll('dialog[open]')].pop() ?? document.body;
}
