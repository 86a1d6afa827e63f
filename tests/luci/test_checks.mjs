// What can be seen without a browser: that calls and rights, options and readers, texts and
// catalogues are the same on both sides; rules of style; the script that rpcd runs.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, mkdtempSync, rmSync, writeFileSync, chmodSync, existsSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ESLint } from 'eslint';
import { parse, tokenize } from 'espree';
import { Router } from './router.mjs';
import { Skipped } from './skipped.mjs';
import { app } from './server.mjs';
import { WHY } from './data.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '../..');
const read = path => readFileSync(join(app, path), 'utf8');
const json = path => JSON.parse(read(path));
const files = readdirSync(app, { recursive: true }).filter(path => statSync(join(app, path)).isFile());
const pages = files.filter(path => path.endsWith('.js'));
const acl = json('root/usr/share/rpcd/acl.d/luci-app-onebox.json')['luci-app-onebox'];
const menu = json('root/usr/share/luci/menu.d/luci-app-onebox.json');
const plugin = join(app, 'root/usr/libexec/rpcd/luci.onebox');

// Options that a router has and that no page is for, with the reason.
const ELSEWHERE = { role: 'written by `onebox join`; a router is a client', netifd_routes: 'on the page of interfaces, luci-proto-onebox' };

// For espree: LuCI's modules return their class.
const SYNTAX = { ecmaVersion: 2021, ecmaFeatures: { globalReturn: true } };

// A file as the package has it.
function minified(path) {
	return execFileSync('python3', [ '-B', '-m', 'packaging.minify', join(app, path) ], { cwd: join(root, 'cross'), encoding: 'utf8' });
}

function rights(group) {
	return Object.entries(acl[group].ubus).flatMap(([ object, methods ]) => methods.map(method => `${object} ${method}`));
}

function calls() {
	const found = pages.flatMap(path => [ ...read(path).matchAll(/\bcall\('([^']+)', '([^']+)'/g) ]);

	return found.map(([ , object, method ]) => `${object} ${method}`);
}

// The options that the program reads of a section of this type, and those that it knows not to be a router's.
function readers(kind) {
	const source = readFileSync(join(root, 'src/config/parse.rs'), 'utf8');
	const body = name => new RegExp(`\\nfn ${name}\\(.*?\\n}\\n`, 's').exec(source)?.[0] ?? '';
	const parts = { main: [ 'main', 'private_key', 'routing', 'role', 'outage' ], wan: [ 'wan' ], peer: [ 'peer' ] }[kind].map(body);
	const names = text => [ ...text.matchAll(/(?:one|secret|many|flag|number|number_or_none|has)\(\s*"(\w+)"|(?:path|socket)\((?:&mut )?fields, "(\w+)"/g) ].map(found => found[1] ?? found[2]);
	const servers = [ 'listen_port', 'nat' ].concat(kind === 'main' ? [ 'endpoint' ] : []);

	return new Set(parts.flatMap(names).filter(name => !servers.includes(name)));
}

function options(from, to) {
	const source = read('htdocs/luci-static/resources/view/onebox/settings.js');
	const part = source.slice(source.indexOf(`\n\t${from}(`), to ? source.indexOf(`\n\t${to}(`) : undefined);

	return new Set([ ...part.matchAll(/form\.\w+, '([a-z]\w+)'|value\('([a-z]\w+)', _\('[^']*(?:\\'[^']*)*'\),/g) ].map(found => found[1] ?? found[2]));
}

function compare(form, program) {
	const missing = [ ...program ].filter(name => !form.has(name) && !ELSEWHERE[name]);
	const dead = [ ...form ].filter(name => !program.has(name));

	assert.deepEqual({ missing, dead }, { missing: [], dead: [] });
}

// Directories of runs that are over.
const dirs = [];

process.on('exit', () => dirs.forEach(dir => rmSync(dir, { recursive: true, force: true })));

// Runs the script of rpcd with a program in the place of onebox.
function rpcd(method, input, program, key) {
	const dir = mkdtempSync(join(tmpdir(), 'onebox-rpcd-'));
	const tool = (name, text) => {
		writeFileSync(join(dir, name), text);
		chmodSync(join(dir, name), 0o755);
	};

	tool('onebox', program);
	tool('jsonfilter', '#!/usr/bin/env python3\nimport json, sys\nvalue = json.load(sys.stdin).get(sys.argv[2][2:])\nprint(str(value).lower() if isinstance(value, bool) else value or "")\n');
	tool('logread', '#!/bin/sh\nprintf \'a "quoted" \\\\ line\\n\\ttwo\\n\'\n');

	const run = spawnSync('sh', [ plugin, 'call', method ], { input: JSON.stringify(input), encoding: 'utf8',
		env: { PATH: `${dir}:${process.env.PATH}`, ONEBOX: join(dir, 'onebox'), ONEBOX_KEY: key ?? join(dir, 'key', 'private.key') } });

	dirs.push(dir);

	return { dir, answer: JSON.parse(run.stdout) };
}

// Notes its arguments, and answers as onebox does.
const PROGRAM = `#!/bin/sh
echo "$*" >> "$(dirname "$0")/argv"
case "$1" in
genkey) echo PRIVATE ;;
genpsk) echo SHARED ;;
pubkey) read -r key; echo "public of $key" ;;
join) read -r code; [ "$code" = good ] || { printf 'the "code" is\\ndamaged\\n' >&2; exit 1; }
	[ "$2" = --show ] && echo '{ "name": "home" }' || echo 'joined' >&2 ;;
check) echo "/etc/config/onebox:3: error: read 'x'"; exit 1 ;;
esac
`;

export default {
	async 'calls have their rights, and rights their calls'() {
		const made = calls();

		assert.equal(new Set(made).size, made.length);
		assert.deepEqual(made.toSorted(), [ ...rights('read'), ...rights('write') ].sort());
	},

	async 'what changes something needs the right to write'() {
		assert.deepEqual(rights('read').filter(right => /init|set_path|reconnect|test|gen|join/.test(right)), []);
		assert.deepEqual([ acl.read.uci, acl.write.uci ], [ [ 'onebox' ], [ 'onebox' ] ]);
		assert.deepEqual([ acl.read.file, acl.write.file ], [ undefined, undefined ]);
	},

	async 'calls are declared in one file only'() {
		assert.deepEqual(pages.filter(path => /rpc\.declare|fs\.exec|'require (rpc|fs)'/.test(read(path))).map(path => path.split('/').pop()), [ 'daemon.js' ]);
	},

	async 'the menu has every view, and no other'() {
		const views = pages.filter(path => path.includes('view/onebox/')).map(path => path.replace(/^.*view\/(.*)\.js$/, '$1')).sort();

		assert.deepEqual(Object.values(menu).filter(entry => entry.action.type === 'view').map(entry => entry.action.path).sort(), views);
		assert.deepEqual(menu['admin/vpn/onebox'].depends.acl, [ 'luci-app-onebox' ]);
	},

	async 'every option of a router has its field, every field its reader: main section'() {
		compare(new Set([ ...options('general', 'keyWidget'), ...options('routing', undefined) ]), readers('main'));
	},

	async 'every option of a router has its field, every field its reader: connections'() {
		compare(options('wans', 'linkOf'), readers('wan'));
	},

	async 'every option of a router has its field, every field its reader: servers'() {
		compare(options('peers', 'checkPrefix'), readers('peer'));
	},

	async 'known reasons and problems are those that the program gives'() {
		const codes = (path, type) => [ ...readFileSync(join(root, path), 'utf8').matchAll(new RegExp(`${type}::\\w+(?:\\(_\\)| \\{ \\.\\. \\})? => "([a-z_]+)"`, 'g')) ].map(found => found[1]);
		const source = read('htdocs/luci-static/resources/onebox/words.js');
		const known = name => [ ...new RegExp(`const ${name} = \\{.*?\\n\\};`, 's').exec(source)[0].matchAll(/^\t([a-z_]+): /gm) ].map(found => found[1]).sort();
		const reasons = [ ...codes('crates/core/src/engine/path/state.rs', 'Reason'), ...codes('src/status/reason.rs', 'Reason') ];
		const problems = [ ...codes('src/status/problem.rs', 'Problem'), ...codes('src/status/path_error.rs', 'PathError'), 'wrong_preshared_key', 'wrong_version', 'false_acknowledgements', 'accused_of_false_acknowledgements' ];

		assert.ok(reasons.length >= 12 && problems.length >= 11);
		// Shown in the program's own words: the pages are as large as they may be. Without a bus there
		// is no page to show anything on.
		const untranslated = [ 'no_default_route', 'too_narrow' ];
		const alike = [ 'device_lost', 'forward_blocked', 'sending_denied', 'sending_fails', 'socket_refused', 'too_many_wans', 'mtu_too_large', 'tunnel_too_narrow', 'ubus_missing', 'interface_missing', 'policies_dead' ];

		assert.deepEqual([ ...known('REASONS'), ...untranslated ].sort(), reasons.sort());
		assert.deepEqual(known('REFUSALS'), codes('src/daemon/speed.rs', 'Refusal').sort());
		assert.deepEqual([ ...known('PROBLEMS'), ...alike ].sort(), problems.sort());
		assert.deepEqual([ ...Object.keys(WHY), ...untranslated ].sort(), reasons);
	},

	async 'no text is markup: what is not constant is in an array'() {
		const found = pages.flatMap(path => [ ...read(path).matchAll(/innerHTML|insertAdjacentHTML|document\.write|location\.reload|\b_\(`/g) ].map(match => `${path}: ${match[0]}`));

		assert.deepEqual(found, []);
	},

	async 'LuCI\'s jsmin leaves patterns alone: it takes none for one after return'() {
		for (const path of pages) {
			const tokens = tokenize(read(path), SYNTAX);

			assert.deepEqual(tokens.filter((token, at) => token.type === 'RegularExpression' && tokens[at - 1].value === 'return'
				&& /[\s'"`]|\/\//.test(token.value)).map(token => token.value), [], path);
		}
	},

	async 'LuCI has every name that the pages use, and so has the stand-in'() {
		const roots = [ join(here, 'standin/luci-static/resources') ];

		if (process.env.LUCI_ROOT)
			roots.push(join(process.env.LUCI_ROOT, 'modules/luci-base/htdocs/luci-static/resources'));

		const homes = { L: 'luci', baseclass: 'luci', dom: 'luci', form: 'form', poll: 'luci', rpc: 'luci', ui: 'ui', uci: 'uci', view: 'luci', widgets: 'widgets' };
		const used = new Set(pages.flatMap(path => [ ...read(path).matchAll(/(?<![\w.'$])([a-zA-Z]+)\.(\w+)/g) ])
			.filter(([ , object ]) => object in homes).map(([ , object, name ]) => `${object}.${name}`));

		assert.ok(used.size > 25);
		for (const base of roots) {
			const text = name => [ `${name}.js`, `tools/${name}.js` ].map(file => join(base, file)).filter(existsSync).map(file => readFileSync(file, 'utf8')).join('');
			const defined = (home, name) => new RegExp(`(?:^|[\\s{,])(?:${name}\\s*[(:,}]|(?:const|var|let|class) ${name}\\b)`, 'm').test(text(home));
			// LuCI has `rpc` in a file of its own, the stand-in in luci.js.
			const missing = [ ...used ].filter(one => {
				const [ object, name ] = one.split('.');

				return !defined(homes[object], name) && !(object === 'rpc' && defined('rpc', name));
			});

			assert.deepEqual({ base, missing }, { base, missing: [] });
		}
	},

	async 'LuCI\'s rules of style (ESLint)'() {
		const eslint = new ESLint({ cwd: root, overrideConfigFile: join(here, 'eslint.config.js') });
		const results = await eslint.lintFiles([ relative(root, join(app, 'htdocs')), relative(root, join(app, 'root/usr/share')), 'luci-app/luci-proto-onebox' ]);
		const bad = results.flatMap(result => result.messages.map(message => `${relative(root, result.filePath)}:${message.line}: ${message.message} (${message.ruleId})`));

		assert.ok(results.length >= pages.length);
		assert.deepEqual(bad, []);
	},

	async 'the catalogues of translations are up to date'() {
		const run = spawnSync(join(app, 'po/update'), [ '--check' ], { encoding: 'utf8' });

		assert.equal(run.status, 0, run.stdout + run.stderr);
	},

	async 'every text is translated, with its placeholders in their order'() {
		const placeholders = text => text.match(/%(\.\d)?[sdfh%]/g);

		for (const path of files.filter(file => file.endsWith('.po'))) {
			const entries = [ ...read(path).matchAll(/^msgid "(.+)"\nmsgstr "(.*)"$/gm) ];

			assert.ok(entries.length > 200, path);
			assert.deepEqual(entries.filter(([ , , words ]) => words === '').map(([ , text ]) => text), [], path);
			for (const [ , text, words ] of entries)
				assert.deepEqual(placeholders(words), placeholders(text), `${path}: ${text}`);
		}
	},

	async 'rpcd\'s script: it lists what the pages call'() {
		const list = JSON.parse(execFileSync('sh', [ plugin, 'list' ], { encoding: 'utf8' }));

		assert.deepEqual(Object.keys(list).sort(), [ ...acl.read.ubus['luci.onebox'], ...acl.write.ubus['luci.onebox'] ].sort());
	},

	async 'rpcd\'s script: keys are made, and the private one stays'() {
		const first = rpcd('genkey', {}, PROGRAM);
		const key = join(first.dir, 'key', 'private.key');

		assert.deepEqual(first.answer, { public_key: 'public of PRIVATE' });
		assert.equal(statSync(key).mode & 0o777, 0o600);
		writeFileSync(key, 'FORMER\n');
		rpcd('genkey', {}, PROGRAM, key);
		assert.equal(readFileSync(`${key}.old`, 'utf8'), 'FORMER\n');
		assert.equal(readFileSync(key, 'utf8'), 'PRIVATE\n');
		assert.deepEqual(rpcd('pubkey', {}, PROGRAM).answer, { public_key: '' });
		assert.deepEqual(rpcd('genpsk', {}, PROGRAM).answer, { key: 'SHARED' });
	},

	async 'rpcd\'s script: a code goes to the program by its input, never by its arguments'() {
		const shown = rpcd('describe', { code: 'good' }, PROGRAM);

		assert.deepEqual(shown.answer, { name: 'home' });
		assert.deepEqual(rpcd('describe', { code: 'bad' }, PROGRAM).answer, { error: 'the "code" is\ndamaged' });

		const joined = rpcd('join', { code: 'good', force: true }, PROGRAM);

		assert.deepEqual(joined.answer, { done: true, message: 'joined' });
		assert.equal(readFileSync(join(joined.dir, 'argv'), 'utf8'), 'join -n --force -\n');
		assert.equal(readFileSync(join(shown.dir, 'argv'), 'utf8'), 'join --show --json -\n');
		assert.deepEqual(rpcd('join', { code: 'bad', force: false }, PROGRAM).answer, { done: false, error: 'the "code" is\ndamaged' });
	},

	async 'rpcd\'s script: mistakes and log as they are'() {
		assert.deepEqual(rpcd('check', {}, PROGRAM).answer, { usable: false, problems: '/etc/config/onebox:3: error: read \'x\'' });
		assert.deepEqual(rpcd('log', {}, PROGRAM).answer, { lines: 'a "quoted" \\ line\n two' });
	},

	async 'rpcd\'s script with the program itself'() {
		const onebox = [ process.env.ONEBOX_BIN, join(root, 'target/release/onebox'), join(root, 'target/debug/onebox') ].find(path => path && existsSync(path));

		if (!onebox)
			throw new Skipped('onebox is not built');

		const made = rpcd('genkey', {}, `#!/bin/sh\nexec ${onebox} "$@"\n`).answer;

		assert.match(made.public_key, /^[A-Za-z0-9+/]{43}=$/);
		assert.match(rpcd('genpsk', {}, `#!/bin/sh\nexec ${onebox} "$@"\n`).answer.key, /^[A-Za-z0-9+/]{43}=$/);
	},

	async 'what the package installs is what is here, without comments and blanks'(browser) {
		for (const path of pages) {
			const tree = text => JSON.stringify(parse(text, SYNTAX),
				(key, value) => [ 'start', 'end' ].includes(key) ? undefined : typeof value === 'bigint' ? String(value) : value);

			assert.equal(tree(minified(path)), tree(read(path)), path);
		}

		const page = await browser.open('setup', new Router());
		const rules = text => page.evaluate(css => {
			const sheet = new CSSStyleSheet();

			sheet.replaceSync(css);
			// A browser keeps the blanks of values with var().
			return [ ...sheet.cssRules ].map(rule => rule.cssText.replace(/, /g, ','));
		}, text);

		for (const path of files.filter(file => file.endsWith('.css')))
			assert.deepEqual(await rules(minified(path)), await rules(read(path)));
	}
};
