/** The video and audio player: hls.js where the browser needs it, with menus for the quality and the language. */

import { h, icon } from './dom.js';
import { FreshUrls, playNatively } from './fresh-urls.js';
import { toast } from './toast.js';

const HLS_JS = '/static/vendor/hls.min.js';
let loading = null;

function loadHls() {
  loading ??= new Promise((resolve, reject) => {
    const script = h('script', { src: HLS_JS });
    script.onload = () => resolve(window.Hls);
    script.onerror = () => { loading = null; reject(new Error('The player could not be loaded.')); };
    document.head.append(script);
  });
  return loading;
}

/** Mount a player for a ready video or audio asset in `stage`. Return the function that unmounts it. */
export async function mountPlayer(stage, asset, urls) {
  const has = (name) => asset.renditions.some((rendition) => rendition.name === name);
  const media = asset.asset_type === 'audio' ? audioElement(asset) : await videoElement(asset, urls, has);
  const quality = h('div', { class: 'quality', hidden: true });
  if (asset.asset_type === 'audio') stage.append(h('div', { class: 'audio-art' }, icon('audio')));
  stage.append(media, quality);
  const direct = asset.asset_type === 'audio' && has('m4a') ? 'm4a' : has('hls') ? '' : 'mp4';
  const ask = () => urls.renew(asset, direct || 'hls');
  const stop = direct ? await playNatively(media, ask) : await playHls(media, ask, quality);
  return () => { stop(); media.pause(); media.removeAttribute('src'); media.load(); };
}

function audioElement(asset) {
  return h('audio', { class: 'audio', controls: true, preload: 'metadata', crossOrigin: 'anonymous', 'aria-label': asset.original_filename });
}

async function videoElement(asset, urls, has) {
  const poster = has('poster') ? (await urls.of(asset, 'poster')).url : null;
  return h('video', {
    class: 'video', controls: true, playsInline: true, preload: 'metadata', crossOrigin: 'anonymous', poster,
    'aria-label': asset.original_filename,
  });
}

async function playHls(media, ask, quality) {
  const Hls = await loadHls();
  if (!Hls.isSupported()) return playNatively(media, ask); // Safari on an old phone plays HLS natively.
  const urls = new FreshUrls(ask);
  const hls = new Hls({ capLevelToPlayerSize: true, xhrSetup: async (xhr, url) => xhr.open('GET', await urls.fresh(url)) });
  recoverFromErrors(hls, Hls, urls);
  hls.on(Hls.Events.MANIFEST_PARSED, () => { showRungs(hls, Hls, quality); showAudioTracks(hls, quality); });
  hls.loadSource(await urls.open());
  hls.attachMedia(media);
  return () => hls.destroy();
}

/** Take new URLs after a refusal. Recover from the first other fatal error of each kind. After a second one, tell the user and stop. */
function recoverFromErrors(hls, Hls, urls) {
  const tried = new Set();
  hls.on(Hls.Events.ERROR, async (_, { fatal, type, response }) => {
    const isRenewed = await urls.refused(response?.code);
    if (!fatal) return;
    if (isRenewed) { hls.startLoad(); return; }
    if (tried.has(type)) { toast('The video cannot be played any further. Close it and open it again.', 'bad'); hls.destroy(); return; }
    tried.add(type);
    if (type === Hls.ErrorTypes.MEDIA_ERROR) hls.recoverMediaError();
    else hls.startLoad();
  });
}

function showRungs(hls, Hls, box) {
  const rungs = hls.levels.map((level, index) => ({ index, name: rungName(level) })).filter((rung) => rung.name);
  if (!rungs.length) return;
  const select = h('select', { id: 'quality', onchange: () => selectRung({ hls, media: hls.media, select }) },
    h('option', { value: -1 }, 'Auto'), rungs.reverse().map(({ index, name }) => h('option', { value: index }, name)));
  const now = h('output', { class: 'quality-now', for: 'quality' });
  hls.on(Hls.Events.LEVEL_SWITCHED, (_, { level }) => { now.textContent = `playing ${rungName(hls.levels[level])}`; });
  box.append(h('div', { class: 'choice' }, h('label', { htmlFor: 'quality' }, 'Quality'), select, now));
  box.hidden = false;
}

/** Show a menu of the audio tracks if there are several, by their names in the playlist. */
function showAudioTracks(hls, box) {
  const tracks = hls.allAudioTracks;
  if (tracks.length < 2) return;
  const select = h('select', { id: 'sound', onchange: () => { hls.setAudioOption(tracks[Number(select.value)]); } },
    tracks.map(({ name, lang, default: first }, index) => h('option', { value: index, lang, selected: first }, name)));
  box.append(h('div', { class: 'choice' }, h('label', { htmlFor: 'sound' }, 'Sound'), select));
  box.hidden = false;
}

/** Name a rung by its short side: 720p. */
function rungName({ width, height }) {
  return width && height ? `${Math.min(width, height)}p` : '';
}

/**
 * Switch to the selected rung at once. `currentLevel` drops the buffer, since a short clip has no next segment at which to
 * switch. Before the first segment has arrived hls.js may then never show one, so wait for it.
 */
function selectRung({ hls, media, select }) {
  const apply = () => { hls.currentLevel = Number(select.value); };
  if (media.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) apply();
  else media.addEventListener('loadeddata', apply, { once: true });
}
