/** A table that stays a table for screen readers where a narrow screen shows its rows as cards. */

import { h } from '../dom.js';

/**
 * Create a table. `columns`: `{title, kind}`; kind is `number`, `action` (only screen readers get its title) or undefined.
 * `rows`: `{key, tone, cells}`; a cell is a node or a text, and the first one is the row's heading.
 * The roles are explicit because `display: grid` on a row removes the implicit ones.
 */
export function table(caption, columns, rows) {
  return h('table', { class: 'table', role: 'table', 'data-columns': columns.length },
    h('caption', { class: 'sr' }, caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, columns.map(createHeading))),
    h('tbody', { role: 'rowgroup' }, rows.map((row) => h('tr', { role: 'row', 'data-key': row.key, 'data-tone': row.tone },
      row.cells.map((cell, place) => createCell(columns[place], cell, place))))));
}

function createHeading({ title, kind }) {
  const text = kind === 'action' ? h('span', { class: 'sr' }, title) : title;
  return h('th', { scope: 'col', role: 'columnheader', class: kind }, text);
}

function createCell({ title, kind }, content, place) {
  const label = kind === 'action' || place === 0 ? null : title;
  return place === 0
    ? h('th', { scope: 'row', role: 'rowheader', class: kind }, content)
    : h('td', { role: 'cell', class: kind, 'data-label': label }, content);
}

/** Create the note that replaces an empty table. */
export function emptyNote(symbol, title, text) {
  return h('div', { class: 'nothing' }, symbol, h('div', {}, h('p', { class: 'nothing-title' }, title), h('p', { class: 'muted' }, text)));
}
