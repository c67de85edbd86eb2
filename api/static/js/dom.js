/** Helpers that create elements. Text is inserted as text, never as markup. */

const SVG = 'http://www.w3.org/2000/svg';

/**
 * Create an element. `on…` properties become listeners; `class`, `data-…` and `aria-…` become attributes. A property that
 * is null, undefined or false is left out. Children are nodes, strings, or nested arrays of these.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes('-') && name !== 'list') element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Create an icon from the page's sprite. It is hidden from screen readers: a text or a button's label says the same. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Create a button that shows only an icon. `label` is its accessible name and its tooltip. */
export function iconButton(name, label, onclick) {
  return h('button', { type: 'button', class: 'icon-button', 'aria-label': label, title: label, onclick }, icon(name));
}

/** Resolve after `ms` milliseconds, or when `signal` aborts. */
export function pause(ms, signal) {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
