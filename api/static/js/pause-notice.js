/** A notice that the service asked for a pause, with a countdown. */

import { h, icon } from './dom.js';
import { addNotice } from './toast.js';

/** Shortest pause in milliseconds that is shown. A shorter notice could not be read. */
const MIN_SHOWN_MS = 1500;
let until = 0;
let box = null;

/** Show that requests resume by themselves in `ms` milliseconds, or prolong the notice that is shown. */
export function showPauseNotice(ms) {
  if (ms < MIN_SHOWN_MS) return;
  until = Math.max(until, Date.now() + ms);
  if (box) return;
  // Hidden from screen readers, which would read the whole line every second.
  const seconds = h('span', { 'aria-hidden': 'true' });
  box = h('div', { class: 'toast is-calm', role: 'status' });
  addNotice(box);
  box.append(icon('clock'), h('p', {}, 'The service asks for a short break. It goes on by itself', seconds, '.'));
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left <= 0) { box.remove(); box = null; return; }
    seconds.textContent = ` in ${left} s`;
    setTimeout(tick, 250);
  };
  tick();
}
