/** What kind of file it is, as far as its name and the browser tell. */

/** Types that browsers do not name, by suffix. */
const BY_SUFFIX = {
  heic: 'image/heic', heif: 'image/heif', avif: 'image/avif', mkv: 'video/x-matroska', mov: 'video/quicktime',
  m4a: 'audio/mp4', flac: 'audio/flac', opus: 'audio/ogg', ts: 'video/mp2t',
};

/** The content type to announce for a file, or '' when nothing tells. */
export function contentTypeOf(file) {
  return file.type || BY_SUFFIX[file.name.split('.').pop().toLowerCase()] || '';
}

/** `image`, `video`, `audio`, `document`, or null for what the service does not take. */
export function assetTypeOf(contentType) {
  if (contentType === 'application/pdf') return 'document';
  const kind = contentType.split('/')[0];
  return ['image', 'video', 'audio'].includes(kind) ? kind : null;
}

/** The files that a drop carries, each with the promise of a handle to it, or of null. To be called during the event. */
export function droppedFiles({ items, files }) {
  const carried = [...items].filter((item) => item.kind === 'file');
  if (!carried.every((item) => item.getAsFileSystemHandle)) return new Map([...files].map((file) => [file, null]));
  // No handle only means that the file must be chosen again after a reload.
  return new Map(carried.map((item) => [item.getAsFile(), item.getAsFileSystemHandle().catch(() => null)]));
}
