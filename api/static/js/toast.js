/** Short messages in a corner, read aloud by screen readers. */

import { h, icon, iconButton } from './dom.js';

const STAYS_MS = 7000;
const AT_MOST = 4;
const region = document.getElementById('toasts');

/** Shows `text`; an error is read out at once, anything else when the reader is done. */
export function toast(text, tone = 'plain') {
  const box = h('div', { class: 'toast', 'data-tone': tone, role: tone === 'bad' ? 'alert' : 'status' });
  hold(box);
  // A live region announces what changes in it, so the words come after the box.
  box.append(icon(tone === 'bad' ? 'alert' : 'check'), h('p', {}, text), iconButton('close', 'Dismiss', () => box.remove()));
  for (const old of [...region.querySelectorAll('.toast:not(.is-calm)')].slice(0, -AT_MOST)) old.remove();
  let timer = setTimeout(() => box.remove(), STAYS_MS);
  for (const type of ['pointerenter', 'focusin']) box.addEventListener(type, () => clearTimeout(timer));
  for (const type of ['pointerleave', 'focusout']) {
    box.addEventListener(type, () => { clearTimeout(timer); timer = setTimeout(() => box.remove(), STAYS_MS); });
  }
}

/** Shows a box among the toasts, for as long as its owner wants. */
export function hold(box) {
  host().append(region);
  region.append(box);
}

export function complain(problem) { toast(problem.message, 'bad'); }

/** The open dialog, if any: everything outside of it is inert, and would be neither seen nor read. */
function host() {
  return [...document.querySelectorAll('dialog[open]')].pop() ?? document.body;
}
