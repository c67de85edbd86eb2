/** What a user does with files. Each action says in a toast how it went. */

import { confirmLoss } from './confirmation.js';
import { h } from './dom.js';
import { percentOf } from './messages.js';
import { isolated } from './name-view.js';
import { showError, toast } from './toast.js';

const removed = (what) => `and everything made of ${what} will be removed. This cannot be undone.`;
/** Files that are deleted at once: more would meet the rate limit sooner. */
const DELETIONS_AT_ONCE = 4;

export class Actions {
  #api;
  #store;
  #urls;
  #uploader;

  constructor({ api, store, urls, uploader }) {
    this.#api = api;
    this.#store = store;
    this.#urls = urls;
    this.#uploader = uploader;
  }

  async copy(item, rendition = '') {
    try {
      const { url, expires_at: end } = await this.#urls.of(item.asset, rendition);
      await navigator.clipboard.writeText(new URL(url, location.href).href);
      toast(end ? `Link copied. It works until ${new Date(end).toLocaleTimeString([], { timeStyle: 'short' })}.` : 'Link copied.');
    } catch (problem) {
      showError(problem);
    }
  }

  /** Copy the links of all ready items, a line for each. */
  async copyAll(items) {
    const ready = items.filter(({ asset, upload }) => !upload && asset.status === 'ready');
    try {
      const found = await Promise.all(ready.map(({ asset }) => this.#urls.of(asset)));
      await navigator.clipboard.writeText(found.map(({ url }) => new URL(url, location.href).href).join('\n'));
      toast(`${ready.length} ${ready.length === 1 ? 'link' : 'links'} copied.${ready.length < items.length ? ' Only files that are ready have one.' : ''}`);
    } catch (problem) {
      showError(problem);
    }
  }

  /** Have the browser save the file as it was sent. The storage answers with an attachment, so the page stays. */
  async download({ asset }) {
    try {
      const { url } = await this.#urls.of(asset, 'original');
      // Where CloudFront delivers a document, the browser shows it.
      const target = asset.asset_type === 'document' ? '_blank' : '';
      h('a', { href: url, target, rel: 'noopener noreferrer' }).click();
    } catch (problem) {
      showError(problem);
    }
  }

  retry(item) { this.#uploader.retry(item); }

  async cancel(item) {
    await this.#drop(item).catch(showError);
    toast('Upload canceled.');
  }

  /** Cancel what is not sent yet, if the user confirms it. */
  async cancelAll() {
    const count = this.#uploader.items.length;
    const subject = `${count} ${count === 1 ? 'upload' : 'uploads'}`;
    const text = 'will end, and what has arrived of them is removed. Files that are sent already stay.';
    if (!await confirmLoss({ title: 'Cancel all uploads?', subject, text, action: 'Cancel them', keep: 'Keep sending' })) return;
    const items = this.#uploader.items;
    const results = await Promise.allSettled(items.map((item) => this.#drop(item)));
    results.filter(({ status }) => status === 'rejected').slice(0, 1).forEach(({ reason }) => showError(reason));
    toast(`${items.length} ${items.length === 1 ? 'upload' : 'uploads'} canceled.`);
  }

  async #drop(item) {
    this.#uploader.cancel(item);
    this.#store.remove(item);
    if (item.asset.asset_id) await this.#api.remove(item.asset.asset_id);
  }

  async remove(item) {
    const { asset_id: id, original_filename: name } = item.asset;
    if (id && !await confirmLoss({ title: 'Delete this file?', subject: isolated(name), text: removed('it') })) return;
    try {
      await this.#remove(item);
      if (id) toast(`${isolated(name)} was deleted.`);
    } catch (problem) {
      showError(problem);
    }
  }

  /** Delete several files if the user confirms it. Resolve to whether all of them are gone. */
  async removeAll(items) {
    const subject = `${items.length} ${items.length === 1 ? 'file' : 'files'}`;
    if (!await confirmLoss({ title: `Delete ${subject}?`, subject, text: removed('them') })) return false;
    const waiting = [...items];
    let failure = null;
    const work = async () => {
      while (waiting.length && !failure) await this.#remove(waiting.shift()).catch((problem) => { failure = problem; });
    };
    await Promise.all(Array.from({ length: DELETIONS_AT_ONCE }, work));
    if (failure) showError(failure); else toast(`${subject} deleted.`);
    return !failure;
  }

  async #remove(item) {
    const { asset_id: id } = item.asset;
    this.#uploader.cancel(item);
    if (id) {
      await this.#api.remove(id);
      this.#urls.forget(id);
    }
    this.#store.remove(item);
  }

  confirmDiscard({ asset, upload }) {
    const name = isolated(asset.original_filename);
    const subject = upload.ended ? `The unfinished upload of ${name}` : `The ${percentOf(upload)} % of ${name} that have arrived`;
    return confirmLoss({ title: 'Discard this upload?', subject, text: 'will be removed. Your own file stays as it is.', action: 'Discard' });
  }

  confirmSignOut() {
    const text = 'would stop. Files above 32 MB can be continued by whom you are now, smaller ones begin anew.';
    return confirmLoss({ title: 'Sign out while files are sent?', subject: 'The uploads', text, action: 'Sign out', keep: 'Stay' });
  }
}
