/** A table that stays one for screen readers, even where a narrow screen shows its rows as cards. */

import { h } from '../dom.js';

/**
 * `columns`: `{title, kind}`, where kind is `number`, `action` (its title is for screen readers only) or nothing.
 * `rows`: `{key, tone, cells}`, a cell being a node or a text; the first one is the row's heading.
 * The roles are spelled out because `display: grid` on a row takes away those it has by birth.
 */
export function table(caption, columns, rows) {
  return h('table', { class: 'table', role: 'table', 'data-columns': columns.length },
    h('caption', { class: 'sr' }, caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, columns.map(heading))),
    h('tbody', { role: 'rowgroup' }, rows.map((row) => h('tr', { role: 'row', 'data-key': row.key, 'data-tone': row.tone },
      row.cells.map((cell, place) => cellOf(columns[place], cell, place))))));
}

function heading({ title, kind }) {
  const words = kind === 'action' ? h('span', { class: 'sr' }, title) : title;
  return h('th', { scope: 'col', role: 'columnheader', class: kind }, words);
}

function cellOf({ title, kind }, content, place) {
  const label = kind === 'action' || place === 0 ? null : title;
  return place === 0
    ? h('th', { scope: 'row', role: 'rowheader', class: kind }, content)
    : h('td', { role: 'cell', class: kind, 'data-label': label }, content);
}

/** What stands where a table has nothing to tell. */
export function nothing(mark, title, words) {
  return h('div', { class: 'nothing' }, mark, h('div', {}, h('p', { class: 'nothing-title' }, title), h('p', { class: 'muted' }, words)));
}
