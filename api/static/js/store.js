/** What this page knows: one item per file, whether it is still being sent or has long been ready. */

import { filenameOf } from './filename.js';

export class Store extends EventTarget {
  #items = new Map();
  #byAsset = new Map();
  #next = 0;

  /** Newest first. */
  get items() { return [...this.#items.values()].sort((a, b) => b.since - a.since || b.order - a.order); }

  ofAsset(id) { return this.#byAsset.get(id); }

  /** A file that the page is about to send. */
  addUpload(file, assetType) {
    const upload = { file, phase: 'waiting', sent: 0, total: file.size, error: null };
    return this.#add({ asset: localAsset(file, assetType), upload });
  }

  /** An upload that was interrupted before this page was opened; its asset may be known already. */
  addInterrupted(record, upload) {
    const known = this.#byAsset.get(record.asset_id);
    if (known) { known.upload = upload; this.touch(known); return; }
    const file = { name: record.name, size: record.size, type: record.content_type };
    const asset = { ...localAsset(file, record.asset_type), asset_id: record.asset_id, created_at: record.begun };
    this.#byAsset.set(record.asset_id, this.#add({ asset, upload }));
  }

  /** Ties an upload to the asset that the service made for it. */
  bind(item, assetId) {
    if (this.#byAsset.get(item.asset.asset_id) === item) this.#byAsset.delete(item.asset.asset_id); // One that was begun anew.
    // A live event may have brought the asset before the answer to our own request.
    const early = this.#byAsset.get(assetId);
    if (early && early !== item) { item.asset = early.asset; this.#drop(early); }
    item.asset = { ...item.asset, asset_id: assetId };
    this.#byAsset.set(assetId, item);
    this.touch(item);
  }

  /** Takes what the service says of an asset; an older word than the one we have is ignored. */
  put(asset) {
    const item = this.#byAsset.get(asset.asset_id);
    if (asset.status === 'deleted') { if (item) this.remove(item); return; }
    if (!item && this.#isAwaited(asset)) return;
    if (!item) { this.#byAsset.set(asset.asset_id, this.#add({ asset, upload: null })); return; }
    if (Date.parse(asset.updated_at) < Date.parse(item.asset.updated_at ?? 0)) return;
    item.asset = asset;
    this.touch(item);
  }

  /** Whether this is what the answer to an own request is about to bring: an event may be faster, and would show it twice. */
  #isAwaited({ status, original_filename: name }) {
    return status === 'pending' && this.items.some(({ asset, upload }) => upload?.phase === 'asking' && asset.original_filename === name);
  }

  touch(item) { this.#tell('change', item); }

  remove(item) { this.#drop(item); }

  /** Forgets everything but the files on their way. */
  clear() {
    for (const item of this.#items.values()) if (!item.upload) this.#drop(item);
  }

  #add(parts) {
    const order = this.#next++;
    const item = { ...parts, order, since: Date.parse(parts.asset.created_at) };
    this.#items.set(order, item);
    this.#tell('add', item);
    return item;
  }

  #drop(item) {
    this.#items.delete(item.order);
    if (this.#byAsset.get(item.asset.asset_id) === item) this.#byAsset.delete(item.asset.asset_id);
    this.#tell('remove', item);
  }

  #tell(type, item) { this.dispatchEvent(new CustomEvent(type, { detail: item })); }
}

function localAsset(file, assetType) {
  return {
    asset_id: null, asset_type: assetType, status: 'pending', original_filename: filenameOf(file), size: file.size,
    content_type: file.type, renditions: [], progress: 0, created_at: new Date().toISOString(),
  };
}
