/** File names on the page: their ends stay visible, and right-to-left names do not turn the words around them. */

import { h } from './dom.js';

/** Characters at the end that stay when a name is shortened, at most. */
const END = 14;
/** Characters that are written from right to left. */
const RIGHT_TO_LEFT = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;

/**
 * Show a name in `element`, as two parts of which only the first is cut by an ellipsis. The split falls between words where
 * one ends near: letters of Arabic would lose their joined forms.
 */
export function showName(element, name) {
  if (element.title === name) return;
  const at = splitOf(name);
  element.title = name;
  element.setAttribute('aria-label', name);
  // Its direction is that of its first letter; its place is that of the page.
  element.replaceChildren(h('bdi', { class: 'name' }, h('span', { class: 'name-start' }, name.slice(0, at)), h('span', { class: 'name-end' }, name.slice(at))));
}

/** Return where the last part of a name begins: at a word, else before the suffix. */
function splitOf(name) {
  const end = name.slice(-END - 1);
  const word = end.search(/(?<=[\s_])[^\s_]/);
  if (word > 0) return name.length - end.length + word;
  const dot = name.lastIndexOf('.');
  return dot > 0 && name.length - dot <= END ? dot : name.length;
}

/** Return a name for use in a sentence: one from right to left is isolated, or it would reorder the words beside it. */
export function isolated(name) { return RIGHT_TO_LEFT.test(name) ? `\u2068${name}\u2069` : name; }
