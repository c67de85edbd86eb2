/** Updates the document in place, so that focus, selection and scroll position stay. */

/**
 * Make the children of `parent` equal to `wanted`, a list of nodes or texts. Elements are matched by `data-key`, others by
 * their place. Listeners are not copied: add them to a parent that stays.
 */
export function patch(parent, wanted) {
  const known = new Map([...parent.children].filter(keyOf).map((child) => [keyOf(child), child]));
  wanted.forEach((node, index) => {
    const next = typeof node === 'string' ? new Text(node) : node;
    const present = parent.childNodes[index] ?? null;
    const old = keyOf(next) ? known.get(keyOf(next)) : present;
    if (!old || !isSameNode(old, next)) { parent.insertBefore(next, present); return; }
    if (old !== present) parent.insertBefore(old, present);
    update(old, next);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

function keyOf(node) { return node.dataset?.key; }

function isSameNode(one, other) { return one.nodeName === other.nodeName && keyOf(one) === keyOf(other); }

function update(old, next) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  patch(old, [...next.childNodes]);
}
