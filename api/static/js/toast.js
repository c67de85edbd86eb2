/** Toasts: short messages in a corner, read by screen readers. */

import { h, icon, iconButton } from './dom.js';

const SHOWN_MS = 7000;
const MAX_TOASTS = 4;
const region = document.getElementById('toasts');

/** Show `text`. Screen readers read an error (`bad`) at once, any other tone when they are idle. */
export function toast(text, tone = 'plain') {
  const box = h('div', { class: 'toast', 'data-tone': tone, role: tone === 'bad' ? 'alert' : 'status' });
  addNotice(box);
  // A live region announces only changes, so the text is added after the box.
  box.append(icon(tone === 'bad' ? 'alert' : 'check'), h('p', {}, text), iconButton('close', 'Dismiss', () => box.remove()));
  for (const old of [...region.querySelectorAll('.toast:not(.is-calm)')].slice(0, -MAX_TOASTS)) old.remove();
  let timer = setTimeout(() => box.remove(), SHOWN_MS);
  for (const type of ['pointerenter', 'focusin']) box.addEventListener(type, () => clearTimeout(timer));
  for (const type of ['pointerleave', 'focusout']) {
    box.addEventListener(type, () => { clearTimeout(timer); timer = setTimeout(() => box.remove(), SHOWN_MS); });
  }
}

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
