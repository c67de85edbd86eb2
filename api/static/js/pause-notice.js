/** Says calmly that the service asked for a pause, and counts it down. */

import { h, icon } from './dom.js';
import { hold } from './toast.js';

const SHORTEST_MS = 1500;
let until = 0;
let box = null;

/** Shows, or prolongs, the word that all goes on by itself in `ms`. A pause too short to be read is not told. */
export function tellPause(ms) {
  if (ms < SHORTEST_MS) return;
  until = Math.max(until, Date.now() + ms);
  if (box) return;
  // The seconds are for the eyes: a screen reader would read the whole line every second.
  const seconds = h('span', { 'aria-hidden': 'true' });
  box = h('div', { class: 'toast is-calm', role: 'status' });
  hold(box);
  box.append(icon('clock'), h('p', {}, 'The service asks for a short break. It goes on by itself', seconds, '.'));
  const turn = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left <= 0) { box.remove(); box = null; return; }
    seconds.textContent = ` in ${left} s`;
    setTimeout(turn, 250);
  };
  turn();
}
