/** Ids in a table: shortened, with a button that copies the whole id and one that opens the asset's timeline. */

import { h, icon } from '../dom.js';
import { shortId } from './messages.js';

/** Create the button that shows an asset's short id and opens its timeline. */
export function timelineButton(id) {
  return h('button', { type: 'button', class: 'id', 'data-act': 'story', 'data-id': id, 'aria-label': `Timeline of asset ${shortId(id)}`, title: id }, shortId(id));
}

/** Create the button that copies the whole id. `kind` names what the id belongs to. */
export function copyButton(id, kind) {
  const label = `Copy the ${kind}’s id`;
  return h('button', { type: 'button', class: 'icon-button is-small', 'data-act': 'copy', 'data-id': id, 'aria-label': `${label}, ${shortId(id)}`, title: label }, icon('copy'));
}

export function assetIdButtons(id) { return h('span', { class: 'id-pair' }, timelineButton(id), copyButton(id, 'asset')); }

export function messageIdButton(id) {
  return h('span', { class: 'id-pair' }, h('span', { class: 'id is-still', title: id }, shortId(id)), copyButton(id, 'message'));
}
