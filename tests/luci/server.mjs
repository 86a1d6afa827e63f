// Serves the pages to the browser: the application as it is in the tree, a runtime, a router.
//
// The runtime is LuCI's own where LUCI_ROOT names a checkout of LuCI, else the stand-in beside this
// file. Both get the same page, as LuCI's templates make it.

import { createServer } from 'node:http';
import { readFileSync, existsSync } from 'node:fs';
import { join, extname, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
export const app = join(here, '../../luci-app/luci-app-onebox');
const luci = process.env.LUCI_ROOT;
export const runtime = luci ? `LuCI's own runtime, ${luci}` : 'the stand-in for LuCI\'s runtime (LUCI_ROOT is not set)';

const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.gif': 'image/gif', '.png': 'image/png' };
const roots = [ join(app, 'htdocs'), join(app, '../luci-proto-onebox/htdocs') ].concat(luci
	? [ 'modules/luci-base/htdocs', 'modules/luci-mod-status/htdocs', 'modules/luci-mod-network/htdocs', 'themes/luci-theme-bootstrap/htdocs' ].map(dir => join(luci, dir))
	: [ join(here, 'standin') ]);

// The texts of a language, as a page gets them.
export function catalogue(lang) {
	const text = readFileSync(join(app, `po/${lang}/onebox.po`), 'utf8');

	return Object.fromEntries([ ...text.matchAll(/^msgid "(.+)"\nmsgstr "(.+)"$/gm) ].map(found => found.slice(1)));
}

// Every page has a path of its own to its router, so that several can be open at once.
const env = (view, number) => ({
	media: '/luci-static/bootstrap', resource: '/luci-static/resources', scriptname: `/r${number}/cgi-bin/luci`, pathinfo: '', documentroot: '/www',
	requestpath: view.split('/'), dispatchpath: [], pollinterval: 5, ubuspath: `/r${number}/ubus/`, sessionid: '0'.repeat(31) + '1', token: 'token',
	nodespec: { satisfied: true }, apply_rollback: 90, apply_holdoff: 0.01, apply_timeout: 5, apply_display: 0.2
});

const VIEWS = { status: 'onebox/status', setup: 'onebox/setup', settings: 'onebox/settings', overview: 'status/index', interfaces: 'network/interfaces' };

function page(number, { view: name, router, lang, texts }) {
	const settings = env(`admin/vpn/onebox/${name}`, number);

	settings.nodespec.readonly = router.readonly;

	return `<!DOCTYPE html><html lang="${lang}"><head><meta charset="utf-8"><title>LuCI</title>
<script>const dark = matchMedia('(prefers-color-scheme: dark)'); document.documentElement.setAttribute('data-darkmode', dark.matches);</script>
<meta name="viewport" content="initial-scale=1.0"><link rel="stylesheet" href="/luci-static/bootstrap/cascade.css">
<link rel="stylesheet" media="only screen and (max-device-width: 854px)" href="/luci-static/bootstrap/mobile.css"><link rel="icon" href="data:,">
<script src="/luci-static/resources/cbi.js"></script>
<script>window.TR = {}; const texts = ${JSON.stringify(texts)}; for (const id in texts) window.TR[sfh(id)] = texts[id];</script></head>
<body class="lang_${lang}"><header><a class="brand" href="/">OpenWrt</a><ul class="nav" id="topmenu" style="display:none"></ul><div id="indicators" class="pull-right"></div></header>
<div id="maincontent" class="container"><div id="tabmenu" style="display:none"></div>
${luci ? `<script src="/luci-static/resources/promis.min.js"></script>` : ""}<script src="/luci-static/resources/luci.js"></script>
<script>L = new LuCI(${JSON.stringify(settings)});</script>
<div id="view"><div class="spinning">Loading view…</div><script>L.require('ui').then(ui => ui.instantiateView('${VIEWS[name]}'));</script></div></div>
</body></html>`;
}

function file(path) {
	for (const root of roots) {
		const full = join(root, normalize(path));

		if (full.startsWith(root) && existsSync(full))
			return readFileSync(full);
	}

	return null;
}

export function serve() {
	// The pages: each { view, router, lang, texts }.
	const state = { pages: [] };
	const server = createServer((request, response) => {
		const send = (status, type, body) => {
			response.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store' });
			response.end(body);
		};
		const path = new URL(request.url, 'http://router').pathname;
		const number = /^\/(?:page\/|r)(\d+)/.exec(path)?.[1];

		if (path.startsWith('/page/'))
			return send(200, 'text/html', page(number, state.pages[number]));
		if (path.includes('/ubus')) {
			const parts = [];

			request.on('data', part => parts.push(part)).on('end', async () => {
				const body = Buffer.concat(parts).toString();
				const answer = body ? await state.pages[number].router.answer(JSON.parse(body)) : {};

				answer === null ? send(502, 'text/plain', 'Bad Gateway') : send(200, 'application/json', JSON.stringify(answer));
			});
			return undefined;
		}
		if (path.includes('/cgi-bin/luci'))
			return send(200, path.includes('menu') ? 'application/json' : 'text/html', path.includes('menu') ? '{"children":{}}' : '<p>another page</p>');

		const body = file(path);

		// The theme's fallback: a runtime of its own may not have every picture.
		return body ? send(200, TYPES[extname(path)] ?? 'text/plain', body) : send(404, 'text/plain', 'not found');
	});

	return new Promise(resolve => server.listen(0, '127.0.0.1', () => {
		state.port = server.address().port;
		state.close = () => server.close();
		resolve(state);
	}));
}
