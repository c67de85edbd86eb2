/** Brings the document up to date without replacing what is there: so focus, selection and the reader's place stay. */

/**
 * Makes the children of `parent` like `wanted`, nodes or texts. Elements with a `data-key` are found again by it, others by their place.
 * Listeners are not carried over: whoever listens does so on a parent that stays.
 */
export function patch(parent, wanted) {
  const known = new Map([...parent.children].filter(keyOf).map((child) => [keyOf(child), child]));
  wanted.forEach((given, place) => {
    const next = typeof given === 'string' ? new Text(given) : given;
    const present = parent.childNodes[place] ?? null;
    const old = keyOf(next) ? known.get(keyOf(next)) : present;
    if (!old || !alike(old, next)) { parent.insertBefore(next, present); return; }
    if (old !== present) parent.insertBefore(old, present);
    become(old, next);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

function keyOf(node) { return node.dataset?.key; }

function alike(one, other) { return one.nodeName === other.nodeName && keyOf(one) === keyOf(other); }

function become(old, next) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  patch(old, [...next.childNodes]);
}
