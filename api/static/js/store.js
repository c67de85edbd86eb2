/** The page's state: one item per file, `{asset, upload}`. `upload` is null once the file has arrived. */

import { filenameOf } from './filename.js';

export class Store extends EventTarget {
  #items = new Map();
  #byAsset = new Map();
  #next = 0;

  /** All items, newest first. */
  get items() { return [...this.#items.values()].sort((a, b) => b.since - a.since || b.order - a.order); }

  findByAsset(id) { return this.#byAsset.get(id); }

  /** Add a file that the page is about to send. */
  addUpload(file, assetType) {
    const upload = { file, phase: 'waiting', sent: 0, total: file.size, error: null };
    return this.#add({ asset: localAsset(file, assetType), upload });
  }

  /** Add an upload that was interrupted before this page was opened. Its asset may be known already. */
  addInterrupted(record, upload) {
    const known = this.#byAsset.get(record.asset_id);
    if (known) { known.upload = upload; this.touch(known); return; }
    const file = { name: record.name, size: record.size, type: record.content_type };
    const asset = { ...localAsset(file, record.asset_type), asset_id: record.asset_id, created_at: record.begun };
    this.#byAsset.set(record.asset_id, this.#add({ asset, upload }));
  }

  /** Tie an upload to the asset that the service created for it. */
  bind(item, assetId) {
    if (this.#byAsset.get(item.asset.asset_id) === item) this.#byAsset.delete(item.asset.asset_id); // The upload started over with a new asset.
    // A live event may have added the asset before the response to our own request.
    const early = this.#byAsset.get(assetId);
    if (early && early !== item) { item.asset = early.asset; this.#drop(early); }
    item.asset = { ...item.asset, asset_id: assetId };
    this.#byAsset.set(assetId, item);
    this.touch(item);
  }

  /** Take an asset from the service. A version older than ours is ignored. */
  put(asset) {
    const item = this.#byAsset.get(asset.asset_id);
    if (asset.status === 'deleted') { if (item) this.remove(item); return; }
    if (!item && this.#isAwaited(asset)) return;
    if (!item) { this.#byAsset.set(asset.asset_id, this.#add({ asset, upload: null })); return; }
    if (Date.parse(asset.updated_at) < Date.parse(item.asset.updated_at ?? 0)) return;
    item.asset = asset;
    this.touch(item);
  }

  /** Tell whether the response to an own request is about to bring this asset. An event that is faster would show it twice. */
  #isAwaited({ status, original_filename: name }) {
    return status === 'pending' && this.items.some(({ asset, upload }) => upload?.phase === 'asking' && asset.original_filename === name);
  }

  /** Notify the listeners that an item changed. */
  touch(item) { this.#notify('change', item); }

  remove(item) { this.#drop(item); }

  /** Remove everything but the files that are being sent. */
  clear() {
    for (const item of this.#items.values()) if (!item.upload) this.#drop(item);
  }

  #add(parts) {
    const order = this.#next++;
    const item = { ...parts, order, since: Date.parse(parts.asset.created_at) };
    this.#items.set(order, item);
    this.#notify('add', item);
    return item;
  }

  #drop(item) {
    this.#items.delete(item.order);
    if (this.#byAsset.get(item.asset.asset_id) === item) this.#byAsset.delete(item.asset.asset_id);
    this.#notify('remove', item);
  }

  #notify(type, item) { this.dispatchEvent(new CustomEvent(type, { detail: item })); }
}

function localAsset(file, assetType) {
  return {
    asset_id: null, asset_type: assetType, status: 'pending', original_filename: filenameOf(file), size: file.size,
    content_type: file.type, renditions: [], progress: 0, created_at: new Date().toISOString(),
  };
}
