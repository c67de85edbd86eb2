/** The type of a file, from the browser or the file name. */

/** Content types by suffix, where the browser tells none: it asks the system, which may not know even the usual ones. */
const BY_SUFFIX = {
  jpg: 'image/jpeg', jpeg: 'image/jpeg', png: 'image/png', gif: 'image/gif', webp: 'image/webp', bmp: 'image/bmp',
  tif: 'image/tiff', tiff: 'image/tiff', mp4: 'video/mp4', m4v: 'video/mp4', webm: 'video/webm', avi: 'video/x-msvideo',
  mpg: 'video/mpeg', mpeg: 'video/mpeg', '3gp': 'video/3gpp', ogv: 'video/ogg', mp3: 'audio/mpeg', wav: 'audio/wav',
  aac: 'audio/aac', oga: 'audio/ogg', ogg: 'audio/ogg', aif: 'audio/aiff', aiff: 'audio/aiff', pdf: 'application/pdf',
  heic: 'image/heic', heif: 'image/heif', avif: 'image/avif', mkv: 'video/x-matroska', mov: 'video/quicktime',
  m4a: 'audio/mp4', flac: 'audio/flac', opus: 'audio/ogg', ts: 'video/mp2t', m2ts: 'video/mp2t', mts: 'video/mp2t',
  flv: 'video/x-flv', wmv: 'video/x-ms-wmv', wma: 'audio/x-ms-wma', amr: 'audio/amr', awb: 'audio/amr', caf: 'audio/x-caf',
};

/** What a film's container is called when it holds sound alone, if not `audio/mp4`. */
const AS_SOUND = { 'video/webm': 'audio/webm', 'video/x-matroska': 'audio/webm', 'video/3gpp': 'audio/3gpp' };

/** Return the content type to announce for a file of this asset type, or of any; '' for an unknown one. */
export function contentTypeOf(file, assetType = null) {
  const found = file.type || BY_SUFFIX[file.name.split('.').pop().toLowerCase()] || '';
  return assetType === 'audio' && found.startsWith('video/') ? AS_SOUND[found] ?? 'audio/mp4' : found;
}

/** Return `image`, `video`, `audio` or `document`, or null for a type that the service does not accept. */
export function assetTypeOf(contentType) {
  if (contentType === 'application/pdf') return 'document';
  const kind = contentType.split('/')[0];
  return ['image', 'video', 'audio'].includes(kind) ? kind : null;
}

/** Return the dropped files, each with a promise of its handle or null. It must be called during the event. */
export function droppedFiles({ items, files }) {
  const dropped = [...items].filter((item) => item.kind === 'file');
  if (!dropped.every((item) => item.getAsFileSystemHandle)) return new Map([...files].map((file) => [file, null]));
  // Without a handle the file must be chosen again after a reload.
  return new Map(dropped.map((item) => [item.getAsFile(), item.getAsFileSystemHandle().catch(() => null)]));
}
