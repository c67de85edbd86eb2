/** Ids in a table: short, with the whole one to copy, and an asset's timeline behind it. */

import { h, icon } from '../dom.js';
import { short } from './messages.js';

/** An asset by the beginning of its id; opens its timeline. */
export function timelineButton(id) {
  return h('button', { type: 'button', class: 'id', 'data-act': 'story', 'data-id': id, 'aria-label': `Timeline of asset ${short(id)}`, title: id }, short(id));
}

/** Puts the whole id on the clipboard. `what` is what it belongs to, in words. */
export function copyButton(id, what) {
  const label = `Copy the ${what}’s id`;
  return h('button', { type: 'button', class: 'icon-button is-small', 'data-act': 'copy', 'data-id': id, 'aria-label': `${label}, ${short(id)}`, title: label }, icon('copy'));
}

export function assetId(id) { return h('span', { class: 'id-pair' }, timelineButton(id), copyButton(id, 'asset')); }

export function messageId(id) {
  return h('span', { class: 'id-pair' }, h('span', { class: 'id is-still', title: id }, short(id)), copyButton(id, 'message'));
}
