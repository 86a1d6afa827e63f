// The pages as they look, into target/luci/: to be looked at, and that none has an error.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Router, freshConfig, CODE } from './router.mjs';
import { newStatus, newEvents } from './data.mjs';
import { catalogue } from './server.mjs';

const out = fileURLToPath(new URL('../../target/luci/', import.meta.url));
const phone = { width: 360, height: 740 };
const dark = { dark: true };
const german = { lang: 'de', texts: catalogue('de') };
const stopped = () => Object.assign(new Router({ status: null }), { service: { running: false }, log: 'daemon.err onebox[2114]: no TUN device: /dev/net/tun: No such file or directory',
	problems: { usable: true, problems: '' } });
const tab = name => async page => {
	await page.click(`.cbi-tabmenu [data-tab="${name}"] > a`);
	await page.waitForTimeout(200);
};
const code = async page => {
	await page.fill('#ob-code', CODE);
	await page.click('text=What is in it?');
	await page.waitForSelector('.ob-pair');
};
const joined = async page => {
	await code(page);
	await page.locator('button', { hasText: 'Save and start' }).click();
	await page.waitForSelector('text=The router is set up.');
};
const status = kind => () => new Router({ status: newStatus(kind), events: newEvents() });
/* One link is under test, the other was an hour ago, a third without a result. */
const tested = () => {
	const router = status('three')();
	const [ peer ] = router.status.peers;
	const found = { up_kbps: 9400, down_kbps: 47200, at: 1800000000, age_s: 3600 };

	router.onebox_test({});
	Object.assign(peer.speed_test.steps[0], { error: 'nothing is left', error_code: 'quota_used_up' });
	peer.paths[2].capacity_down_kbps = peer.paths[2].capacity_up_kbps = null;
	peer.paths[1].tested = found;

	return router;
};
const allTested = () => {
	const router = status('two')();

	router.status.peers[0].bond.tested = router.status.peers[0].paths[0].tested = { up_kbps: 9400, down_kbps: null, at: 1800000000, age_s: 90000 };

	return router;
};
const fresh = () => new Router({ status: null, config: freshConfig() });

const SCREENS = {
	'status-2': [ 'status', status('two') ],
	'status-3': [ 'status', status('three') ],
	'status-3-dark': [ 'status', status('three'), dark ],
	'status-3-phone': [ 'status', status('three'), phone ],
	'status-8': [ 'status', status('eight') ],
	'status-states': [ 'status', status('states') ],
	'status-states-dark': [ 'status', status('states'), dark ],
	'status-states-phone-dark': [ 'status', status('states'), { ...phone, ...dark } ],
	'status-states-german': [ 'status', status('states'), german ],
	'status-3-german-phone': [ 'status', status('three'), { ...phone, ...german } ],
	'status-testing-phone-german': [ 'status', tested, { ...phone, ...german } ],
	'status-tested': [ 'status', allTested ],
	'status-stopped': [ 'status', stopped ],
	'status-not-set-up': [ 'status', fresh ],
	'setup': [ 'setup', fresh, {}, code ],
	'setup-done': [ 'setup', fresh, {}, joined ],
	'setup-phone': [ 'setup', fresh, phone, code ],
	'setup-german': [ 'setup', fresh, german, async page => {
		await page.fill('#ob-code', CODE);
		await page.click('text=Was steht darin?');
		await page.waitForSelector('.ob-pair');
	} ],
	'setup-dark': [ 'setup', fresh, dark, code ],
	'settings': [ 'settings', () => new Router() ],
	'settings-german': [ 'settings', () => new Router(), german ],
	'settings-connections': [ 'settings', () => new Router(), {}, tab('wans') ],
	'settings-connections-phone': [ 'settings', () => new Router(), phone, tab('wans') ],
	'settings-connection': [ 'settings', () => new Router(), {}, async page => {
		await tab('wans')(page);
		await page.click('#cbi-onebox-lte .cbi-button-edit');
		await page.waitForSelector('.modal');
		// It fades in.
		await page.waitForTimeout(700);
	} ],
	'settings-server-dark': [ 'settings', () => new Router(), dark, tab('peers') ],
	'settings-routing': [ 'settings', () => new Router(), {}, tab('routing') ],
	'settings-advanced-phone': [ 'settings', () => new Router(), phone, tab('advanced') ],
	'overview': [ 'overview', status('states') ],
	'overview-dark': [ 'overview', status('states'), dark ]
};

export default {
	async 'every page, wide and narrow, light and dark, without an error'(browser) {
		mkdirSync(out, { recursive: true });

		for (const [ name, [ view, router, options = {}, prepare ] ] of Object.entries(SCREENS)) {
			const page = await browser.open(view, router(), options);

			await page.waitForTimeout(350);
			await prepare?.(page);
			await page.screenshot({ path: `${out}${name}.png`, fullPage: true });
			assert.deepEqual(page.errors, [], name);
			await page.close();
		}
	}
};
