/** The page's texts for states, events and errors. The codes are those of `media/errors.py`. */

import { isolated } from './name-view.js';

/** Reasons for which a file is rejected or fails: what it means, and what its owner can do. */
export const REASONS = {
  infected: 'Malware was found in this file. It was moved to quarantine and nobody can open it.',
  unscannable: 'The virus scanner could not look into the whole file, so nothing says that it is safe.',
  too_large_to_scan: 'The file is larger than the virus scanner takes. Try a smaller or more compressed version.',
  encrypted: 'The file asks for a password, so it can be neither scanned nor shown. Save it without one and send that.',
  empty: 'The file is empty. Check the original and send it again.',
  too_large: 'The file is larger than allowed for its type.',
  type_mismatch: 'The content is not what the file name and type promise. Export it again in the right format.',
  unsupported: 'This format is not one the service can read. Try JPEG, PNG, WebP, MP4, MP3 or PDF.',
  corrupt: 'The file is damaged or cut short. Check that it opens on your device, then send it again.',
  too_many_pixels: 'The picture, or all frames of the animation together, has more pixels than allowed.',
  resource_limit: 'Reading this file took more memory or time than one file may use.',
  no_video: 'The file has no picture track. What is sound alone can be sent as audio.',
  no_audio: 'The file has no sound track.',
  unsupported_codec: 'The picture or the sound is encoded in a way the service cannot read. Try H.264 with AAC.',
  too_long: 'The recording lasts longer than allowed.',
  active_content: 'The document is signed and contains scripts or starts programs, or may do so as it is damaged. Print it to PDF and send that.',
  bucket_not_allowed: 'The recording lies in a place the service may not read.',
  source_changed: 'The file was changed after it was scanned, so it was refused. Send it again.',
  attempts_exhausted: 'Processing failed again and again. This is our fault, not the file’s; the operator has been told.',
  stalled: 'Nothing was heard of the work for a long time, so it was given up. Send the file again.',
  source_missing: 'The uploaded file is not in storage any more. Send it again.',
  scanner_error: 'The virus scanner gave no answer.',
  storage_error: 'The storage answered with an error.',
  transcoder_error: 'The video encoder ended with an error.',
  job_canceled: 'The encoding was canceled.',
  worker_crashed: 'The process that did the work died.',
  unforeseen: 'Something went wrong that nobody foresaw; the operator’s log has the details.',
  undecodable: 'An internal message could not be read.',
  unknown_asset: 'An internal message named a file that does not exist.',
};

/** Timeline entries besides the reasons above. */
const EVENTS = {
  created: 'Upload announced',
  uploaded: 'File arrived in storage',
  clean: 'Scanned: no malware found',
  content_type: 'Content looked at',
  actions_removed: 'What acts by itself was taken out',
  repaired: 'Damage was repaired',
  rendered: 'Made for the web',
  no_preview: 'No picture of its pages could be made',
  planned: 'Encoding planned',
  submitted: 'Handed to the encoder',
  ready: 'Ready to use',
  note: 'Remark',
  retry: 'Will be tried again',
  unavailable: 'Waited: a service was down',
  interrupted: 'Put back in line while a worker restarted',
  lease_lost: 'Another worker took over',
  nudged: 'Reminded, since nothing was heard',
  job_warning: 'The encoder remarked something',
  no_sound: 'The sound track holds nothing',
  dull_poster: 'No frame was found for the poster that shows something',
  stale_job: 'An older encoding ended; its result was thrown away',
  rejected: 'Rejected',
  failed: 'Failed',
  infected: 'Malware found',
  unscannable: 'Could not be scanned to the end',
  error: 'The virus scanner gave no answer',
  quarantined: 'Moved to quarantine',
  late_version: 'A later version of the file was removed',
  late_upload: 'A file that came after the deletion was removed',
  recording_conflict: 'The same recording was announced again with another file; the first one stays',
  expired: 'The file never arrived',
  deleted: 'Deleted',
  event_sent: 'Other services were told',
  delivery_changing: 'Its files move to another delivery',
  delivery_changed: 'Delivered in another way from now on',
  delivery_kept: 'Delivered as before: its files could not be moved',
};

const GOOD = new Set(['clean', 'rendered', 'ready']);
const WARN = new Set([
  'retry', 'unavailable', 'interrupted', 'lease_lost', 'nudged', 'job_warning', 'stale_job', 'late_version', 'late_upload',
  'recording_conflict', 'expired', 'delivery_kept',
]);
const BAD = new Set(['rejected', 'failed', 'error', 'infected', 'unscannable']);

const RENDITIONS = { hls: 'HLS', mp4: 'MP4', m4a: 'M4A', poster: 'Poster', original: 'Original' };

const STAGES = { scan: 'Safety scan', image: 'Picture sizes', transcode: 'Encoding' };

const STATUSES = {
  pending: 'Waiting for the file', uploaded: 'In line', scanning: 'Scanning', processing: 'Processing', ready: 'Ready',
  rejected: 'Rejected', failed: 'Failed', expired: 'Never arrived', deleted: 'Deleted',
};

const TYPES = { image: 'Image', video: 'Video', audio: 'Audio', document: 'Document' };

/** What is to be known of a file that is ready. A code that is missing here has its detail. */
const NOTES = {
  actions_removed: (detail) => `This document is shown without what acts by itself. ${detail}.`,
  no_preview: () => 'There is no preview of this document. It can be opened all the same.',
};

/** Texts for HTTP statuses; 0 means that no response came. */
const HTTP = {
  0: 'The service cannot be reached. Check the connection and try again.',
  401: 'The token was refused. It may have run out.',
  403: 'This token does not allow that.',
  404: 'That file does not exist any more.',
  409: 'The file is not in a state that allows this.',
  413: 'The file is larger than allowed for its type.',
  415: 'This type of file is not accepted.',
  429: 'Too many requests. Wait a moment and try again.',
};

/** Texts for the codes that this page itself gives to a failed upload. */
const UPLOAD_ERRORS = {
  upload_broken: 'The upload broke off. Check the connection and try again.',
  upload_canceled: 'The upload was canceled.',
  upload_kept: 'The upload broke off. What has arrived is kept: go on when the connection is better.',
  upload_ended: 'What had arrived of this upload is gone: it is kept for a day. Send the file again from the beginning.',
  name_invisible: 'Nothing of this file’s name can be seen. Rename it, then send it again.',
  signed_out: 'You are not signed in. Try again, and you are asked for a token.',
  parts_missing: 'Some of the file did not arrive. Go on, and what is missing is sent again.',
  file_unreadable: 'The file cannot be read any more. It was changed, moved or removed after you chose it.',
};

/** Ways in which a chosen file differs from the one whose upload was interrupted. */
const OTHER_FILE = {
  other_name: (file, record) => `That is ${isolated(file.name)}. This upload is of ${isolated(record.name)}.`,
  other_size: (file, record) => `That file has ${formatExactBytes(file.size)}, the one whose upload was interrupted has ${formatExactBytes(record.size)}.`,
  other_time: () => 'That file was changed since its upload began. Discard this upload, then send the file from the beginning.',
  other_content: () => 'That file has another content than the one whose upload was interrupted.',
};

/** What to send instead of a file whose content type is not taken, by the first half of the type. */
const INSTEAD = { image: 'a JPEG or PNG', video: 'an MP4', audio: 'an MP3 or M4A', application: 'a PDF' };

/** Texts for files that are refused before they are sent. */
const REFUSALS = {
  content_type_not_allowed: ({ contentType }) => (contentType === 'image/svg+xml'
    ? 'SVG drawings are not taken, because they can carry programs. Export it as a PNG and send that.'
    : `Files of the type ${contentType} are not taken. Export it as ${INSTEAD[contentType.split('/')[0]]} and send that.`),
  larger_than_allowed: ({ file, limit }) => `The file has ${formatBytes(file.size)}, and at most ${formatBytes(limit)} are taken. Try a smaller or more compressed version.`,
};

function formatExactBytes(bytes) { return `${bytes.toLocaleString('en')} bytes`; }

/** Return an upload's progress in whole percent, at most 99: the end is told by the status. */
export function percentOf({ sent, total }) { return Math.min(99, Math.floor((100 * sent) / Math.max(1, total))); }

export function describeInterruption(upload) {
  return upload.ended
    ? 'The upload was interrupted more than a day ago, and what had arrived is gone. Choose the file to send it from the beginning.'
    : `The upload was interrupted at ${percentOf(upload)} %.`;
}

/** Describe the time left, rounded to minutes or hours. */
export function describeTimeLeft(seconds) {
  if (seconds < 50) return 'less than a minute left';
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `about ${minutes} min left` : `about ${Math.round(minutes / 60)} h left`;
}

export function describeStatus(status) { return STATUSES[status] ?? humanize(status); }
export function describeType(type) { return TYPES[type] ?? humanize(type); }
export function describeStage(stage) { return STAGES[stage] ?? humanize(stage); }

/** Describe a rendition. Pictures keep the names that the API uses. */
export function describeRendition(name) { return RENDITIONS[name] ?? name.replace(/^page-(\d+)$/, 'Page $1'); }

/** Describe in a sentence why an asset was rejected or failed. */
export function describeReason(asset) {
  return REASONS[asset.code] || asset.detail || 'No reason was recorded.';
}

/** Describe each note on an asset that is ready in a sentence or two. */
export function describeNotes(asset) {
  if (asset.status !== 'ready') return [];
  return (asset.notes ?? []).map(({ code, detail }) => NOTES[code]?.(detail) ?? (detail || humanize(code)));
}

export function describePages({ page_count: count }) {
  return count ? `${count.toLocaleString('en')} ${count === 1 ? 'page' : 'pages'}` : '';
}

/** Describe a problem document in a sentence: our text for its code, else the server's, else the text for the status. */
export function describeProblem(status, body) {
  const { code, detail, title, retryAfter, file, record } = body;
  if (REFUSALS[code] && file) return REFUSALS[code](body);
  if (UPLOAD_ERRORS[code]) return UPLOAD_ERRORS[code];
  if (OTHER_FILE[code]) return OTHER_FILE[code](file, record);
  if (status === 429 && retryAfter) return `Too many requests. Try again in ${Math.ceil(retryAfter)} s.`;
  if (HTTP[status] && (status === 0 || !detail)) return HTTP[status];
  return REASONS[code] || detail || title || `The service answered with an error (${status}).`;
}

/** Describe a timeline entry: `{title, where, detail, tone}`. The tone is `good`, `bad`, `warn` or `plain`. */
export function describeEvent({ code, stage, attempt, detail }) {
  const where = stage ? describeStage(stage) + (attempt > 1 ? `, attempt ${attempt}` : '') : '';
  return { title: EVENTS[code] ?? REASONS[code] ?? humanize(code), where, detail: describeDetail(detail ?? ''), tone: toneOf(code) };
}

function describeDetail(detail) {
  return detail.replace(/^(\d+) bytes\b/, (_, bytes) => formatBytes(Number(bytes)));
}

function toneOf(code) {
  if (GOOD.has(code)) return 'good';
  if (WARN.has(code)) return 'warn';
  return BAD.has(code) || code in REASONS ? 'bad' : 'plain';
}

export function humanize(code) {
  const words = String(code).replaceAll('_', ' ').trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export function formatBytes(bytes) {
  if (bytes === null || bytes === undefined) return '';
  const power = bytes < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${value >= 100 || power === 0 ? Math.round(value) : value.toFixed(1)} ${['B', 'kB', 'MB', 'GB', 'TB'][power]}`;
}

export function formatDuration(ms) {
  const seconds = Math.round(ms / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const [hours, ...rest] = parts;
  return (hours ? [hours, ...rest.map(padTwo)] : [rest[0], padTwo(rest[1])]).join(':');
}

function padTwo(number) { return String(number).padStart(2, '0'); }

const RELATIVE = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

export function formatAge(date) {
  const seconds = (Date.parse(date) - Date.now()) / 1000;
  for (const [unit, size] of [['day', 86400], ['hour', 3600], ['minute', 60]]) {
    if (Math.abs(seconds) >= size) return RELATIVE.format(Math.round(seconds / size), unit);
  }
  return 'just now';
}
