/** The dialog that asks before something is lost. */

const dialog = document.getElementById('confirm');
const part = (name) => dialog.querySelector(`[data-part="${name}"]`);

/** Ask a question. `subject` is what it is about, `text` what will happen. Resolve to true if the user chooses `action`. */
export function confirmLoss({ title, subject, text, action = 'Delete', keep = 'Keep it' }) {
  part('title').textContent = title;
  part('subject').textContent = subject;
  part('text').textContent = ` ${text}`;
  part('action').textContent = action;
  part('keep').textContent = keep;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}
