/** The operator's view: its texts, and the format of numbers, times and lists. */

import { humanize } from '../messages.js';

const CLOCK = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

const QUEUES = {
  uploads: 'New files, to be scanned',
  images: 'Pictures and pages of documents, to be rendered',
  transcodes: 'Video and audio, to be encoded',
  'transcode-events': 'News of encodings',
  recordings: 'Webinars handed in',
};

/** Reasons of dead letters. The codes are those of `media/errors.py`, and `max_receives` for a move by SQS itself. */
const DEATHS = {
  undecodable: 'Cannot be read',
  unknown_asset: 'Names an asset that does not exist',
  bucket_not_allowed: 'From a bucket that may not be read',
  attempts_exhausted: 'Failed again and again',
  unforeseen: 'An error nobody foresaw',
  max_receives: 'Received too often; nobody wrote why',
  scanner_error: 'The scanner gave no verdict',
  storage_error: 'The storage answered with an error',
  transcoder_error: 'The encoder ended with an error',
  worker_crashed: 'The process that did the work died',
  source_missing: 'The file is not in storage any more',
  stalled: 'Nothing was heard of the work',
};

const STATES = { queued: 'in line', leased: 'its worker fell silent', waiting: 'at the encoder' };

const DEPENDENCIES = { clamd: 'ClamAV', postgres: 'Postgres', s3: 'S3', sqs: 'SQS', mediaconvert: 'MediaConvert' };

export function describeQueue(name) { return QUEUES[name] ?? ''; }
export function describeDeath(code) { return DEATHS[code] ?? humanize(code); }
export function describeState(state) { return STATES[state] ?? humanize(state); }
export function describeDependency(name) { return DEPENDENCIES[name] ?? name; }

/** Join a number and its noun: `1 dead letter`, `2 dead letters`. */
export function pluralize(number, one, many = `${one}s`) {
  return `${number.toLocaleString('en')} ${number === 1 ? one : many}`;
}

/** Format a duration in its largest unit, hours with minutes up to ten. */
export function formatSpan(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return hours < 10 && minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} days`;
}

export function formatTime(date) { return CLOCK.format(date); }

/** Shorten an id to its first 8 characters, enough to tell it from the others. */
export function shortId(id) { return id.slice(0, 8); }

/** Join words to a list: `uploads`, `uploads and images`, `uploads, images and recordings`. */
export function joinList(words) {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}
