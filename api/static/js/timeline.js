/** The timeline of one asset. */

import { h, icon } from './dom.js';
import { describeEvent } from './messages.js';

const CLOCK = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const ICONS = { good: 'check', bad: 'alert', warn: 'retry', plain: 'dot' };

/** Create the list of events, oldest first. */
export function timelineList(items) {
  const start = items.length ? Date.parse(items[0].at) : 0;
  return h('ol', { class: 'timeline' }, items.map((item) => createEntry(item, Date.parse(item.at) - start)));
}

function createEntry(item, elapsed) {
  const { title, where, detail, tone } = describeEvent(item);
  const time = h('time', { dateTime: item.at, title: new Date(item.at).toLocaleString() }, CLOCK.format(new Date(item.at)),
    h('span', { class: 'since' }, formatElapsed(elapsed)));
  return h('li', { 'data-tone': tone, 'data-code': item.code }, icon(ICONS[tone]),
    h('div', {}, h('p', { class: 'event' }, title), where ? h('p', { class: 'where' }, where) : null,
      detail ? h('p', { class: 'detail' }, detail) : null), time);
}

function formatElapsed(ms) {
  if (ms < 50) return '';
  return ms < 60_000 ? `+${(ms / 1000).toFixed(1)} s` : `+${Math.round(ms / 60_000)} min`;
}
