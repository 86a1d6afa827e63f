// The status page: what it says in which case, and what its buttons do.

import assert from 'node:assert/strict';
import { Router, baseConfig, freshConfig } from './router.mjs';
import { newStatus, newEvents, WHY } from './data.mjs';

const headline = page => page.textContent('.ob-headline');
const card = (page, wan) => page.locator(`.ob-card[data-wan="${wan}"]`);
const clean = page => assert.deepEqual(page.errors, []);

// Waits until a call has arrived so many times.
async function called(router, object, method, count) {
	for (let n = 0; n < 100 && router.called(object, method).length < count; n++)
		await new Promise(resolve => setTimeout(resolve, 50));

	return router.called(object, method);
}

async function says(page, selector, pattern) {
	await page.waitForFunction(([ where, source ]) =>
		[ ...document.querySelectorAll(where) ].some(node => new RegExp(source).test(node.textContent)), [ selector, pattern.source ]);
}

// A page for each case that has no status: what the line says, the buttons, and words below.
const CASES = {
	'switched off, and set up': [ { enabled: false }, /^Switched off$/, [ 'Switch on' ], /as if there were no tunnel/ ],
	'nothing is set up': [ { fresh: true }, /^Switched off$/, [ 'Set up' ], /Nothing is set up yet/ ],
	'the settings have mistakes': [ { problems: '/etc/config/onebox:7: error: section \'vps\', option \'public_key\': missing' },
		/settings have mistakes/, [ 'Settings', 'Start' ], /option 'public_key': missing/ ],
	'starting': [ { running: true }, /does not answer yet/, [ 'Restart', 'Stop' ], /a few seconds/ ],
	'stopped, with its last words': [ { log: 'daemon.err onebox: /dev/net/tun: No such file or directory' },
		/Switched on, and not running/, [ 'Start' ], /dev\/net\/tun: No such file/ ]
};

function without({ enabled = true, fresh = false, problems = '', running = false, log = '' }) {
	const router = new Router({ status: null, config: fresh ? freshConfig() : baseConfig() });

	router.uci.onebox.main.enabled = enabled && !fresh ? '1' : '0';
	router.service.running = running;
	router.problems = { usable: problems === '', problems };
	router.log = log;

	return router;
}

const cases = Object.fromEntries(Object.entries(CASES).map(([ name, [ given, line, buttons, words ] ]) => [ name, async browser => {
	const page = await browser.open('status', without(given));

	await says(page, '.ob-headline', line);
	await says(page, '.ob', words);
	assert.deepEqual((await page.locator('.ob-head .cbi-button').allTextContents()).map(text => text.trim()), buttons);
	clean(page);
} ]));

export default {
	async 'bonded: the line, the cards, the charts'(browser) {
		const page = await browser.open('status', new Router({ events: newEvents() }));

		await says(page, '.ob-headline', /^Bonded over 3 of 3 links, 178 Mbit\/s down, 2\.3 × your best link$/);
		await page.waitForSelector('.ob-plot .ob-total');
		assert.equal(await page.locator('.ob-card').count(), 3);
		assert.match(await card(page, 'dsl').textContent(), /Carries data\..*41\.2 Mbit\/s of 47 Mbit\/s.*18 ms/);
		assert.match(await card(page, 'lte').textContent(), /sparingly.*Quota41\.3 GB of 50 GB/);
		assert.equal(await page.locator('.ob-plot .ob-area').count(), 6);
		assert.equal(await page.locator('.ob-plot .ob-line').count(), 3);
		assert.match(await page.locator('.ob-plot svg').first().getAttribute('aria-label'), /^Download: Bond .*starlink/);
		// Five minutes are there from the first moment.
		assert.ok((await page.locator('.ob-plot .ob-total').first().getAttribute('d')).split('L').length > 290);
		clean(page);
	},

	async 'every state of a connection is said with its reason'(browser) {
		const page = await browser.open('status', new Router({ status: newStatus('states') }));
		const expected = {
			dsl: [ 'In use', /Carries data/ ], lte: [ 'Backup', /quota of 50 GB is used up.* begins anew on / ],
			starlink: [ 'In doubt', /Nothing has arrived for 250 ms/ ], cable: [ 'Probing', /has not answered/ ],
			sat: [ 'Held out', /adds 180 ms and would slow/ ], radio: [ 'Down', /link is down/ ],
			umts: [ 'Taken out', /by hand or by the settings/ ], hotel: [ 'Backup', /not needed/ ]
		};

		await says(page, '.ob-headline', /^Connected over dsl alone, 40 Mbit\/s down$/);
		for (const [ wan, [ state, reason ] ] of Object.entries(expected)) {
			assert.equal(await card(page, wan).locator('.ob-badge').textContent(), state);
			assert.match(await card(page, wan).locator('.ob-reason').textContent(), reason);
		}
		clean(page);
	},

	async 'what was not measured is not told'(browser) {
		const status = newStatus('two');
		const [ dsl, cable ] = status.peers[0].paths;

		dsl.capacity_down_kbps = dsl.capacity_up_kbps = cable.capacity_up_kbps = null;
		status.peers[0].bond.best_single_down_kbps = null;

		const page = await browser.open('status', new Router({ status }));

		await says(page, '.ob-headline', /^Bonded over 2 of 2 links, [0-9.]+ Mbit\/s down$/);
		assert.match(await card(page, 'dsl').textContent(), /41\.2 Mbit\/s, not measured yet/);
		assert.match(await card(page, 'cable').textContent(), /66\.8 Mbit\/s of 92 Mbit\/s/);
		clean(page);
	},

	async 'a link and all together are tested, with progress and result'(browser) {
		const router = new Router({ status: newStatus('two') });
		const page = await browser.open('status', router);
		const all = page.locator('.ob-test');

		await card(page, 'dsl').getByText('Test now').click();
		assert.deepEqual(await called(router, 'onebox', 'test', 1), [ { wan: 'dsl' } ]);
		await page.waitForSelector('[data-wan=dsl] .ob-meter:has-text("Speed test"):has-text("40 %")');
		assert.equal(await page.getByText('Test now').count(), 0);
		assert.match(await all.textContent(), /^Speed test: 40 %$/);
		clean(page);

		const [ peer ] = router.status.peers;
		const tested = { up_kbps: 9400, down_kbps: 47200, at: 1800000000, age_s: 190 };

		Object.assign(peer.speed_test, { running: false, percent: 100 });
		Object.assign(peer.speed_test.steps[1], { error: 'something', error_code: 'quota_used_up' });
		peer.paths[1].tested = tested;
		peer.bond.tested = { ...tested, up_kbps: null };
		await page.waitForSelector('[data-wan=cable]:has-text("Tested 3 min ago: 47.2 Mbit/s down, 9.4 Mbit/s up")');
		assert.match(await card(page, 'dsl').textContent(), /Not tested: nothing is left of the quota/);
		assert.match(await all.textContent(), /^Test allTested 3 min ago: 47\.2 Mbit\/s down, – up$/);
		await all.getByText('Test all').click();
		assert.deepEqual(await called(router, 'onebox', 'test', 2), [ { wan: 'dsl' }, {} ]);

		peer.speed_test = null;
		router.refusesTests = true;
		await page.reload();
		await card(page, 'dsl').getByText('Test now').click();
		await page.waitForSelector('.alert-message:has-text("no test can begin")');
	},

	async 'reasons in words: known ones, others as they are'(browser) {
		const status = newStatus('eight');
		const reasons = [ WHY.returning, WHY.lossy, WHY.no_address, WHY.peer_closed, WHY.silent,
			{ reason: 'something new', reason_code: 'something', reason_value: null }, WHY.quota_used_up, { reason: '', reason_code: '' } ];

		status.peers[0].paths.forEach((path, n) => Object.assign(path, { state: 'down', ...reasons[n] }));

		const page = await browser.open('status', new Router({ status }));
		const shown = await page.locator('.ob-reason').allTextContents();

		[ /^It answers again/, /^It loses 31 % of the packets/, /no gateway/, /opened again/, /tried again all the time/, /^Something new\.$/, /quota is used up.* on August 15\.$/, /^$/ ]
			.forEach((pattern, n) => assert.match(shown[n], pattern));
		clean(page);
	},

	async 'problems are told with what to do: known ones, others in the program\'s words'(browser) {
		const status = newStatus('two');

		status.problems = [
			{ code: 'name_unresolved', subject: 'vps.example.net', words: 'vps.example.net: the server\'s name cannot be resolved: timeout', remedy: 'check the name', since_s: 1 },
			{ code: 'something', subject: '', words: 'something <b id=evil>new', remedy: 'call somebody', since_s: 1 }
		];

		const router = new Router({ status });
		const page = await browser.open('status', router);
		const shown = await page.locator('.ob-problems li').allTextContents();

		assert.match(shown[0], /^The server's name cannot be resolved: check it.*\.vps\.example\.net: .*timeout$/);
		assert.match(shown[1], /^Something <b id=evil>new\..*Call somebody\.$/);
		assert.equal(await page.locator('#evil').count(), 0);
		router.status.problems = [];
		await page.waitForFunction(() => !document.querySelector('.ob-problems'));
		clean(page);
	},

	async 'what goes wrong with a peer or a connection is told once'(browser) {
		const status = newStatus('two');
		const error = (code, words) => ({ code, words, remedy: 'look', age_s: 3 });
		const [ peer ] = status.peers;

		peer.last_error = error('server_silent', '198.51.100.1 has not answered on UDP 51830 for 12 s');
		peer.paths[0].last_error = peer.last_error;
		peer.paths[1].last_error = error('server_refuses', '198.51.100.1 refuses UDP 51830: is the program running there?');

		const page = await browser.open('status', new Router({ status }));
		const shown = await page.locator('.ob-problems li').allTextContents();

		assert.equal(shown.length, 2);
		assert.match(shown[0], new RegExp(`^The server does not answer: .*${peer.name}: 198.51.100.1 has not answered on UDP 51830 for 12 s$`));
		assert.match(shown[1], new RegExp(`^Nothing listens .*${peer.paths[1].wan}: 198.51.100.1 refuses`));
		clean(page);
	},

	async 'the whole: connecting, down, disabled'(browser) {
		for (const [ state, pattern ] of [ [ 'connecting', /^Waiting for the first answer of 198/ ], [ 'down', /cannot be reached/ ], [ 'disabled', /^Switched off$/ ] ]) {
			const page = await browser.open('status', new Router({ status: newStatus('two', state) }));

			await says(page, '.ob-headline', pattern);
			clean(page);
			await page.close();
		}
	},

	...cases,

	async 'a connection is taken out and back in'(browser) {
		const router = new Router();
		const page = await browser.open('status', router);

		await card(page, 'lte').locator('button', { hasText: 'Take out' }).click();
		await says(page, '.ob-card[data-wan="lte"] .ob-badge', /Taken out/);
		await card(page, 'lte').locator('button', { hasText: 'Take back in' }).click();
		await says(page, '.ob-card[data-wan="lte"] .ob-badge', /In use/);
		assert.deepEqual(router.called('onebox', 'set_path'), [ { wan: 'lte', mode: 'off' }, { wan: 'lte', mode: 'active' } ]);
		clean(page);
	},

	async 'a backup comes back as a backup'(browser) {
		const router = new Router();

		router.uci.onebox.lte.mode = 'backup';
		Object.assign(router.status.peers[0].paths[1], { state: 'down', ...WHY.switched_off });

		const page = await browser.open('status', router);

		await card(page, 'lte').locator('button').click();
		assert.deepEqual(await called(router, 'onebox', 'set_path', 1), [ { wan: 'lte', mode: 'backup' } ]);
	},

	async 'restart, reconnect, stop, start'(browser) {
		const router = new Router();
		const page = await browser.open('status', router);
		const status = router.status;

		router.onService = action => { router.status = action === 'stop' ? null : action === 'restart' ? status : router.status };
		await page.click('text=Reconnect');
		assert.equal((await called(router, 'onebox', 'reconnect', 1)).length, 1);
		await page.click('text=Restart');
		await called(router, 'rc', 'init', 1);
		await page.click('.ob-actions >> text=Stop');
		await says(page, '.ob-headline', /not running/);
		await page.click('.ob-actions >> text=Start');
		await says(page, '.ob-headline', /^Bonded/);
		assert.deepEqual(router.called('rc', 'init').map(args => args.action), [ 'restart', 'stop', 'enable', 'restart' ]);
		clean(page);
	},

	async 'switching on writes the option and starts the service'(browser) {
		const router = without({ enabled: false });
		const status = newStatus('two');

		router.committed = JSON.parse(JSON.stringify(router.uci));
		router.onService = action => { router.status = action === 'restart' ? status : null };
		// The first confirmation gets lost.
		router.uci_confirm = () => [ router.called('uci', 'confirm').length > 1 ? 0 : 7 ];

		const page = await browser.open('status', router);

		await page.click('text=Switch on');
		await says(page, '.ob-headline', /^Bonded over 2 of 2/);
		assert.equal(router.committed.onebox.main.enabled, '1');
		assert.deepEqual(router.called('uci', 'apply').map(args => args.rollback), [ true ]);
		assert.equal(router.called('uci', 'confirm').length, 2);
		assert.deepEqual(router.called('rc', 'init').map(args => args.action), [ 'enable', 'restart' ]);
		clean(page);
	},

	async 'what is refused is told'(browser) {
		const router = new Router();

		router.refuse['onebox.reconnect'] = { result: [ 6 ] };

		const page = await browser.open('status', router);

		await page.click('text=Reconnect');
		await says(page, '.alert-message', /That has failed: .*6/);
		clean(page);
	},

	async 'a router that does not answer, and does again'(browser) {
		const router = new Router();
		const page = await browser.open('status', router);

		await says(page, '.ob-headline', /^Bonded/);
		// LuCI's own questions at the start are answered by then.
		await page.waitForSelector('.ob-plot .ob-total');
		router.broken = true;
		await says(page, '.ob-headline', /The router does not answer/);
		// What was there stays to be read.
		assert.equal(await page.locator('.ob-card').count(), 3);
		router.broken = false;
		await says(page, '.ob-headline', /^Bonded/);
		clean(page);
	},

	async 'a session that has expired leads to the login'(browser) {
		const router = new Router();
		const page = await browser.open('status', router);

		await says(page, '.ob-headline', /^Bonded/);
		router.expired = true;
		await says(page, '.modal', /Session expired/);
		assert.equal(await page.locator('.ob-card').count(), 3);
	},

	async 'of the past, what cannot be had now is had later'(browser) {
		const router = new Router({ status: newStatus('two'), events: newEvents() });

		router.refuse = { 'onebox.history': { result: [ 7 ] }, 'onebox.events': { error: { code: -32000, message: 'Object not found' } } };

		const page = await browser.open('status', router);

		await says(page, '.ob', /Nothing has changed yet/);
		assert.equal(await page.locator('.ob-card').count(), 2);
		router.refuse = {};
		await says(page, '.ob-events', /lte: In use/);
		await page.waitForSelector('.ob-plot .ob-total');
		clean(page);
	},

	async 'what happened since is added: no event twice, none of a program that began anew missed'(browser) {
		const router = new Router({ events: newEvents() });
		const now = Math.floor(Date.now() / 1000);
		const page = await browser.open('status', router);

		await says(page, '.ob-events li:first-child', /lte: In use/);
		router.events = [ { id: 1, time_s: now + 1, peer: 'vps', state: 'up' } ];
		await says(page, '.ob-events li:first-child', /vps: Connected/);
		assert.equal(await page.locator('.ob-events li').count(), 7);
		assert.ok(router.called('onebox', 'events').slice(1).every(args => args.since >= now - 61));
		clean(page);
	},

	async 'history goes on where it was'(browser) {
		const router = new Router();
		const page = await browser.open('status', router);

		await page.waitForTimeout(6600);

		const asked = router.called('onebox', 'history').map(args => args.since);

		assert.equal(asked[0], 0);
		assert.ok(asked.length >= 3 && asked.slice(1).every(since => since > 1e9), String(asked));
		assert.ok((await page.locator('.ob-plot .ob-total').first().getAttribute('d')).split('L').length > 290);
		clean(page);
	},

	async 'an hour, a day, a month: what was carried, and how long it was there'(browser) {
		const router = new Router();
		const page = await browser.open('status', router);
		const first = page.locator('.ob-axis span').first();
		const points = async () => (await page.locator('.ob-plot .ob-total').first().getAttribute('d')).split('L').length;
		const ranges = page.locator('.ob-ranges button');

		assert.equal(await ranges.count(), 4);
		assert.match(await first.textContent(), /^5 min ago$/);
		for (const [ at, step, since, length ] of [ [ 1, 60, /^1 h 0 min ago$/, 60 ], [ 2, 60, /^1 d 0 h ago$/, 1440 ], [ 3, 3600, /^31 d 0 h ago$/, 744 ] ]) {
			await ranges.nth(at).click();
			await page.waitForFunction(text => new RegExp(text).test(document.querySelector('.ob-axis span').textContent), since.source);
			await page.waitForFunction(length => document.querySelector('.ob-plot .ob-total').getAttribute('d').split('L').length === length, length);
			assert.equal(await points(), length);
			assert.equal(router.called('onebox', 'history').at(-1).step, step);
			assert.equal(await page.locator('.ob-ranges [aria-pressed="true"]').count(), 1);
		}

		const asked = router.called('onebox', 'history').length;

		await page.waitForTimeout(3500);
		assert.equal(router.called('onebox', 'history').length, asked, 'hours are not asked for every three seconds');
		assert.match(await page.locator('.ob-totals').textContent(), /received, .*sent, there 100\s%/);
		clean(page);
	},

	async 'details are there for who opens them, and stay open'(browser) {
		const router = new Router({ status: newStatus('two') });
		const page = await browser.open('status', router);
		const details = page.locator('.ob-card details').first();

		assert.equal(await details.locator('dl').isVisible(), false);
		await details.locator('summary').click();
		assert.match(await details.textContent(), /Type.*Ethernet.*Largest packet.*1492 bytes.*Gateway.*192\.168\.1\.1.*Own address.*:41830$/);
		router.status.peers[0].paths[0].gateway = '192.168.1.254';
		await says(page, '.ob-card details', /192\.168\.1\.254/);
		assert.equal(await page.locator('.ob-card details').first().locator('dl').isVisible(), true);
		clean(page);
	},

	async 'where the server sees a connection, and whose that address is'(browser) {
		const status = newStatus('two');
		const [ dsl, cable ] = status.peers[0].paths;
		const name = 'p5b2.dip0.t-ipconnect.de';

		Object.assign(dsl, { public_address: '203.0.113.7', nat: true, local: '100.64.3.4:41830' });
		Object.assign(cable, { public_address: '203.0.113.8', nat: false, local: '203.0.113.8:41830' });

		const router = new Router({ status });

		router.names = { '203.0.113.7': name, '203.0.113.8': `<img src=x onerror="document.title='harm'">${'a'.repeat(200)}.example` };

		const page = await browser.open('status', router);
		const details = at => page.locator('.ob-card details').nth(at);
		const asked = () => router.called('network.rrdns', 'lookup').map(({ addrs }) => addrs.join());
		const shows = (at, what) => page.waitForFunction(([ n, source ]) =>
			new RegExp(source).test(document.querySelectorAll('.ob-card details')[n].textContent), [ at, what.source ]);

		assert.match(await details(0).textContent(), /Public address203\.0\.113\.7, behind the provider's NAT \(CGNAT\)$/);
		assert.match(await details(1).textContent(), /Public address203\.0\.113\.8$/);
		await page.waitForTimeout(3500);
		assert.deepEqual(asked(), [], 'nobody has opened it');
		await details(0).locator('summary').click();
		await shows(0, /Providerp5b2\.dip0\.t-ipconnect\.de$/);
		for (let times = 0; times < 4; times++)
			await details(0).locator('summary').click();
		assert.equal((await details(0).textContent()).split(name).length, 2, 'once');

		// What anybody can write in the DNS is text, and not much of it.
		await details(1).locator('summary').click();
		await shows(1, /Providerimgsrcxonerror/);
		assert.equal((await details(1).locator('dd').last().textContent()).length, 80);
		assert.equal(await page.locator('.ob-card img').count(), 0);
		assert.deepEqual(asked(), [ '203.0.113.7', '203.0.113.8' ]);

		// Another address, whose name nobody knows, and back.
		Object.assign(dsl, { local: '192.168.1.2:41830' });
		Object.assign(cable, { public_address: '203.0.113.9', nat: null });
		await shows(0, /203\.0\.113\.7, behind NATProviderp5b2/);
		await shows(1, /Public address203\.0\.113\.9$/);
		Object.assign(cable, { public_address: '203.0.113.8' });
		await shows(1, /203\.0\.113\.8Providerimg/);
		assert.deepEqual(asked(), [ '203.0.113.7', '203.0.113.8', '203.0.113.9' ], 'once for each address');

		// A router without names, and one whose program does not say the address yet.
		delete router.names;
		Object.assign(cable, { public_address: '203.0.113.10' });
		await shows(1, /203\.0\.113\.10$/);
		delete cable.public_address;
		await shows(1, /Own address203\.0\.113\.8:41830$/);
		clean(page);
	},

	async 'the picture: each connection with its rate, its state where it carries nothing'(browser) {
		const status = newStatus('two');

		status.peers[0].paths[1].state = 'down';

		const page = await browser.open('status', new Router({ status }));
		const ways = page.locator('.ob-way');
		const width = at => ways.nth(at).locator('i').evaluate(node => parseFloat(node.style.borderTopWidth));

		assert.equal(await ways.count(), 2);
		assert.match(await ways.nth(1).textContent(), /Down$/);
		assert.match(await ways.nth(0).textContent(), /bit\/s$/);
		assert.ok(await width(0) === 10 || await width(1) === 10);
		clean(page);
	},

	async 'the newest event is first'(browser) {
		const page = await browser.open('status', new Router({ events: newEvents() }));

		await says(page, '.ob-events li:first-child', /lte: In use/);
		await says(page, '.ob-events li:nth-child(4)', /starlink: In doubt – Nothing has arrived/);
		clean(page);
	},

	async 'the legend tells the values under the pointer'(browser) {
		const page = await browser.open('status', new Router());
		const legend = page.locator('.ob-chart .ob-legend').first();

		await page.waitForSelector('.ob-plot .ob-total');
		const now = await legend.textContent();
		await page.locator('.ob-plot svg').first().hover({ position: { x: 40, y: 40 } });
		assert.notEqual(await legend.textContent(), now);
		assert.equal(await page.locator('.ob-cursor').first().getAttribute('visibility'), 'visible');
		clean(page);
	},

	async 'names that look like markup are text'(browser) {
		const router = new Router({ status: newStatus('two'), events: [ { id: 1, time_s: 1, peer: '<b id=evil>', wan: '<i id=evil>', state: 'down', reason: '<u id=evil>x' } ] });
		const peer = router.status.peers[0];

		peer.name = peer.endpoint = '<b id=evil>x';
		Object.assign(peer.paths[0], { wan: '<img id=evil src=x>', device: '<b id=evil>', reason: '<b id=evil>', reason_code: '<b id=evil>' });

		const page = await browser.open('status', router);

		await page.waitForSelector('.ob-events');
		assert.equal(await page.locator('#evil').count(), 0);
		assert.match(await page.textContent('.ob'), /<img id=evil src=x>/);
		clean(page);
	},

	async 'a reader may look and not touch'(browser) {
		const router = new Router();

		router.readonly = true;

		const page = await browser.open('status', router);

		await says(page, '.ob-headline', /^Bonded/);
		assert.equal(await page.locator('.ob button:enabled:not(.ob-ranges button)').count(), 0);
		clean(page);
	},

	async 'the keyboard reaches the buttons and keeps its place while the page is drawn anew'(browser) {
		const router = new Router();
		const page = await browser.open('status', router);

		await page.waitForSelector('.ob-card button');
		await card(page, 'dsl').locator('button', { hasText: 'Take out' }).focus();
		await page.waitForTimeout(3600);
		assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Take out: dsl');
		await page.keyboard.press('Enter');
		await says(page, '.ob-card[data-wan="dsl"] .ob-badge', /Taken out/);
		clean(page);
	},

	async 'nothing is wider than a telephone'(browser) {
		for (const [ view, router ] of [ [ 'status', new Router({ status: newStatus('states'), events: newEvents() }) ],
			[ 'setup', new Router({ config: freshConfig() }) ], [ 'settings', new Router() ], [ 'overview', new Router() ] ]) {
			const page = await browser.open(view, router, { width: 360, height: 740 });

			await page.waitForTimeout(500);
			assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= 362, view);
			clean(page);
			await page.close();
		}
	},

	async 'dark: text and lines are told from the ground'(browser) {
		const page = await browser.open('status', new Router(), { dark: true });

		await page.waitForSelector('.ob-card');
		const contrast = await page.evaluate(() => {
			const light = colour => {
				const [ r, g, b ] = colour.match(/[\d.]+/g).map(part => Math.pow(part / 255, 2.2));
				return 0.2126 * r + 0.7152 * g + 0.0722 * b;
			};
			const ground = light(getComputedStyle(document.body).backgroundColor);

			return [ ...document.querySelectorAll('.ob-headline, .ob-reason, .ob-badge, .ob-c0, .ob-c1, .ob-c2') ].map(node => {
				const own = light(getComputedStyle(node).color);
				return (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
			});
		});

		assert.ok(contrast.length > 8 && Math.min(...contrast) >= 3, String(contrast));
		clean(page);
	}
};
