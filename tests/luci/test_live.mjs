// The status page of a program that runs.

import assert from 'node:assert/strict';
import { LiveRouter, missing } from './live.mjs';
import { newEvents, newHistory, newStatus } from './data.mjs';
import { Skipped } from './skipped.mjs';

const names = object => Object.keys(object).sort();
const says = (page, selector, text) => page.locator(selector, { hasText: text }).first().waitFor();

export default {
	async 'what the program says is shown, and obeyed; it has the form of what is made up'(browser) {
		const reason = missing();

		if (reason)
			throw new Skipped(reason);

		const router = new LiveRouter();

		try {
			const page = await browser.open('status', router);

			await says(page, '.ob-headline', /^(Bonded|Connected) over /);
			await says(page, '.ob-card[data-wan="wan1"] .ob-badge', 'In use');
			await says(page, '.ob-card[data-wan="wan2"] .ob-badge', 'In use');
			await says(page, '.ob-events', 'wan1: In use');
			await page.waitForSelector('.ob-plot .ob-total', { state: 'attached' });
			assert.doesNotMatch(await page.textContent('.ob'), /NaN|undefined|null|Infinity|Invalid/);
			await page.click('.ob-card[data-wan="wan2"] button');
			await says(page, '.ob-card[data-wan="wan2"] .ob-badge', 'Taken out');
			await page.click('.ob-card[data-wan="wan2"] button');
			await says(page, '.ob-card[data-wan="wan2"] .ob-badge', 'In use');
			assert.deepEqual(page.errors, []);

			const [ live, made ] = [ await router.ask('status'), newStatus('two') ];
			const [ livePeer, madePeer ] = [ live.peers[0], made.peers[0] ];

			assert.deepEqual(names(made), names(live));
			assert.deepEqual(names(madePeer), names(livePeer));
			assert.deepEqual(names(madePeer.paths[0]), names(livePeer.paths[0]));
			assert.deepEqual(names(madePeer.bond), names(livePeer.bond));
			await page.click('.ob-card[data-wan="wan1"] button:has-text("Test now")');
			await page.waitForSelector('.ob-card[data-wan="wan1"]:has-text("Speed test")', { timeout: 20000 });
			await page.waitForSelector('.ob-card[data-wan="wan1"]:has-text("Tested ")', { timeout: 40000 });
			assert.ok((await router.ask('status')).peers[0].paths.find(path => path.wan === 'wan1').capacity_up_kbps > 1000);

			const [ past, madePast ] = [ await router.ask('history', { since: 0 }), newHistory(made)(0) ];

			assert.deepEqual(names(madePast), names(past));
			assert.deepEqual(names(madePast.series[0]), names(past.series[0]));

			const { events } = await router.ask('events', { since: 0 });

			for (const about of [ event => event.wan, event => !event.wan ])
				assert.deepEqual(names(newEvents().find(about)), names(events.find(about)));
		}
		finally {
			await router.stop();
		}
	}
};
