// The set-up page: from a code to a router that runs.

import assert from 'node:assert/strict';
import { Router, freshConfig, CODE, PSK, PUBLIC_KEY, OTHER_KEY } from './router.mjs';

const clean = page => assert.deepEqual(page.errors, []);
const row = (page, name) => page.locator(`.ob-wan[data-name="${name}"]`);
const go = page => page.locator('button', { hasText: 'Save and start' });

function fresh(options = {}) {
	const router = new Router({ status: null, config: freshConfig(), ...options });

	router.service = { enabled: false, running: false };
	return router;
}

async function described(browser, router, code = CODE) {
	const page = await browser.open('setup', router);

	await page.fill('#ob-code', code);
	await page.click('text=What is in it?');
	return page;
}

// With a firewall, and a netifd that knows the protocol or does not.
function withZones(known, main = {}) {
	const router = fresh();
	const section = (type, name, index, values) => ({ '.type': type, '.name': name, '.anonymous': false, '.index': index, ...values });

	Object.assign(router.uci.onebox.main, main);
	router.uci.network = { wan: section('interface', 'wan', 0, { proto: 'dhcp' }), vpn: section('interface', 'vpn', 1, { proto: 'onebox' }) };
	router.uci.firewall = {
		lan: section('zone', 'lan', 0, { name: 'lan', network: [ 'lan' ] }),
		cfg2: section('zone', 'cfg2', 1, { name: 'wan', network: main.netifd ? [ 'wan', main.netifd ] : [ 'wan' ] })
	};
	router.committed = JSON.parse(JSON.stringify(router.uci));
	router.network_get_proto_handlers = () => [ 0, known ? { dhcp: {}, onebox: {} } : { dhcp: {} } ];
	return router;
}

// Goes through the set-up; what was chosen by then.
async function setUp(browser, router, zone) {
	const page = await described(browser, router);
	const select = page.locator('#ob-zone');
	const proposed = await select.inputValue();

	if (zone !== undefined)
		await select.selectOption(zone);
	await page.waitForSelector('.ob-pair');
	await go(page).click();
	await page.waitForSelector('text=The router is set up.');
	assert.deepEqual(router.committed, router.uci);
	clean(page);
	return proposed;
}

export default {
	async 'a zone is proposed: the tunnel becomes an interface in it, and keeps its own routes'(browser) {
		const router = withZones(true);

		assert.equal(await setUp(browser, router), 'wan');
		const { netifd, netifd_routes } = router.sections('onebox')[0];

		assert.deepEqual([ netifd, netifd_routes ], [ 'onebox', '0' ]);
		assert.equal(router.uci.network.onebox.proto, 'onebox');
		assert.deepEqual([ router.uci.firewall.lan.network, router.uci.firewall.cfg2.network ], [ [ 'lan' ], [ 'wan', 'onebox' ] ]);
	},

	async 'a zone that netifd could not serve yet cannot be chosen'(browser) {
		const router = withZones(false);

		assert.equal(await setUp(browser, router), '');
		assert.equal(router.sections('onebox')[0].netifd, undefined);
		assert.deepEqual(router.uci.firewall.cfg2.network, [ 'wan' ]);
	},

	async 'an interface moves to another zone, and out of all'(browser) {
		for (const [ zone, lan, netifd ] of [ [ 'lan', [ 'lan', 'vpn' ], 'vpn' ], [ '', [ 'lan' ], undefined ] ]) {
			const router = withZones(true, { netifd: 'vpn' });

			assert.equal(await setUp(browser, router, zone), 'wan');
			assert.equal(router.sections('onebox')[0].netifd, netifd);
			assert.deepEqual([ router.uci.firewall.lan.network, router.uci.firewall.cfg2.network ], [ lan, [ 'wan' ] ]);
		}
	},

	async 'a code is told without its secrets, then everything is written and started'(browser) {
		const router = fresh();
		const page = await described(browser, router, CODE.replace('-', '-\n  '));

		await page.waitForSelector('.ob-pair');
		const told = await page.textContent('.ob-pair');

		for (const part of [ 'home', 'vps.example.net:51830', '10.99.0.2/24, fd99::2/64', PUBLIC_KEY, OTHER_KEY ])
			assert.ok(told.includes(part), part);
		assert.ok(!told.includes(PSK));
		await row(page, 'wwan').locator('select').selectOption('backup');
		await go(page).click();
		await page.waitForSelector('text=The router is set up.');

		assert.equal(await page.locator('.ob-done .ob-ok').count(), 5);
		assert.equal(await page.inputValue('#ob-code'), '');
		// The code goes where it has to, and nowhere else.
		assert.deepEqual(router.calls.filter(call => JSON.stringify(call.args).includes('onebox1-')).map(call => call.method), [ 'describe', 'join' ]);
		assert.deepEqual(router.called('luci.onebox', 'join'), [ { code: CODE, force: false } ]);
		assert.deepEqual(router.called('rc', 'init').map(args => args.action), [ 'enable', 'restart' ]);
		assert.equal(router.sections('onebox')[0].enabled, '1');
		assert.deepEqual(router.sections('peer').map(peer => peer.public_key), [ OTHER_KEY ]);
		assert.deepEqual(router.sections('wan'), [
			{ '.type': 'wan', '.name': 'wan', interface: 'wan', mode: 'active' },
			{ '.type': 'wan', '.name': 'wwan', interface: 'wwan', mode: 'backup', metered: '1' },
			{ '.type': 'wan', '.name': 'sat', interface: 'sat', mode: 'active' }
		]);
		assert.deepEqual(router.committed, router.uci);
		clean(page);
	},

	async 'what the router has: one row for each line, mobile ones metered'(browser) {
		const page = await browser.open('setup', fresh());

		assert.deepEqual(await page.locator('.ob-wan').evaluateAll(rows => rows.map(one => [ one.dataset.name,
			...[ ...one.querySelectorAll('[type=checkbox]') ].map(box => box.checked) ])),
		[ [ 'wan', true, false ], [ 'wwan', true, true ], [ 'sat', true, false ], [ 'lan', false, false ] ]);
		assert.match(await row(page, 'wan').textContent(), /wan, wan6 pppoe-wan, up/);
		assert.match(await row(page, 'lan').textContent(), /no way to the internet/);
		assert.ok(await go(page).isDisabled());
		clean(page);
	},

	async 'a connection that is not wanted is written down as off'(browser) {
		const router = fresh();
		const page = await described(browser, router);

		await page.waitForSelector('.ob-pair');
		await row(page, 'sat').locator('label').first().click();
		assert.ok(await row(page, 'sat').locator('select').isDisabled());
		await go(page).click();
		await page.waitForSelector('text=The router is set up.');
		assert.deepEqual(router.sections('wan').map(wan => [ wan.interface, wan.mode ]), [ [ 'wan', 'active' ], [ 'wwan', 'active' ], [ 'sat', 'off' ] ]);
		clean(page);
	},

	async 'a damaged code is refused, with the field marked'(browser) {
		const page = await described(browser, fresh(), 'onebox1-nonsense');

		await page.waitForSelector('#ob-code.cbi-input-invalid');
		assert.equal(await page.textContent('.ob-error'), 'the code is damaged: copy it once more');
		assert.equal(await page.getAttribute('#ob-code', 'aria-invalid'), 'true');
		assert.ok(await go(page).isDisabled());
		// Another text is another chance.
		await page.fill('#ob-code', CODE);
		assert.equal(await page.locator('#ob-code.cbi-input-invalid').count(), 0);
		clean(page);
	},

	async 'no code, no call'(browser) {
		const router = fresh();
		const page = await described(browser, router, '  ');

		await page.waitForSelector('#ob-code.cbi-input-invalid');
		assert.deepEqual(router.called('luci.onebox', 'describe'), []);
		clean(page);
	},

	async 'another code than the one that was shown has to be shown first'(browser) {
		const page = await described(browser, fresh());

		await page.waitForSelector('.ob-pair');
		assert.ok(await go(page).isEnabled());
		await page.type('#ob-code', 'x');
		assert.ok(await go(page).isDisabled());
		assert.equal(await page.locator('.ob-pair').count(), 0);
		clean(page);
	},

	async 'what is set up already is replaced only if that is said; sections of connections stay'(browser) {
		const router = new Router();
		const page = await described(browser, router);

		await page.waitForSelector('.ob-pair');
		assert.match(await page.textContent('.alert-message'), /A tunnel to vps\.example\.net:51830 is set up here already/);
		assert.ok(await go(page).isDisabled());
		await page.check('#ob-replace');
		await go(page).click();
		await page.waitForSelector('text=The router is set up.');
		assert.deepEqual(router.called('luci.onebox', 'join'), [ { code: CODE, force: true } ]);
		assert.deepEqual(router.sections('wan').map(wan => [ wan['.name'], wan.interface ?? wan.device, wan.mode, wan.quota_mb ]), [
			[ 'lte', 'wwan', 'active', '50000' ], [ 'starlink', 'eth2', 'active', undefined ], [ 'wan', 'wan', 'active', undefined ] ]);
		clean(page);
	},

	async 'a step that fails ends it, and says why'(browser) {
		const router = fresh();

		router.problems = { usable: false, problems: '/etc/config/onebox:3: error: wrong' };

		const page = await described(browser, router);

		await page.waitForSelector('.ob-pair');
		await go(page).click();
		await page.waitForSelector('.ob-done .ob-no');
		assert.match(await page.locator('[role=status] .ob-error').textContent(), /onebox:3: error: wrong/);
		assert.deepEqual(router.called('rc', 'init'), []);
		await page.waitForTimeout(200);
		assert.ok(await go(page).isEnabled());
		clean(page);
	},

	async 'with the keyboard alone'(browser) {
		const page = await browser.open('setup', fresh());

		await page.focus('#ob-code');
		await page.keyboard.insertText(CODE);
		await page.keyboard.press('Tab');
		await page.keyboard.press('Enter');
		await page.waitForSelector('.ob-pair');
		await page.locator('.ob-wan[data-name="lan"] input').first().focus();
		await page.keyboard.press('Tab');
		await page.keyboard.press('Enter');
		await page.waitForSelector('text=The router is set up.');
		clean(page);
	},

	async 'a reader may look and not touch'(browser) {
		const router = fresh();

		router.readonly = true;

		const page = await browser.open('setup', router);

		assert.equal(await page.locator('.ob button:enabled').count(), 0);
		clean(page);
	}
};
