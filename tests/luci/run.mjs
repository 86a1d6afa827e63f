// Plays the tests in a browser and writes the screenshots.
//
//     node run.mjs [PART OF A NAME…]

import { Browser } from './browser.mjs';
import { runtime } from './server.mjs';
import { Skipped } from './skipped.mjs';
import checks from './test_checks.mjs';
import live from './test_live.mjs';
import status from './test_status.mjs';
import overview from './test_overview.mjs';
import setup from './test_setup.mjs';
import settings from './test_settings.mjs';
import protocol from './test_protocol.mjs';
import screens from './screens.mjs';

// Tests that are played at the same time.
const AT_ONCE = 4;

const wanted = process.argv.slice(2);
const tests = Object.entries({ checks, live, status, overview, setup, settings, protocol, screens })
	.flatMap(([ group, list ]) => Object.entries(list).map(([ name, run ]) => [ `${group}: ${name}`, run ]))
	.filter(([ name ]) => wanted.length === 0 || wanted.some(word => name.includes(word)));
const failures = [];
const skipped = [];

console.log(`runtime: ${runtime}`);

const browser = await Browser.start();

const waiting = [ ...tests ];

// Most of a test's time is waiting for the page to look again.
async function work() {
	for (let next; (next = waiting.shift());) {
		const [ name, run ] = next;
		const opened = [];

		try {
			await run({ open: (...rest) => browser.open(...rest).then(page => { opened.push(page); return page }) });
			console.log(`test ${name} ... ok`);
		}
		catch (error) {
			const [ list, word ] = error instanceof Skipped ? [ skipped, 'ignored' ] : [ failures, 'FAILED' ];

			list.push([ name, error ]);
			console.log(`test ${name} ... ${word}`);
		}

		await Promise.all(opened.map(page => page.close()));
	}
}

await Promise.all(Array.from({ length: AT_ONCE }, work));
await browser.stop();

for (const [ name, { message } ] of skipped)
	console.log(`test ${name}: skipped, ${message}`);
if (failures.length)
	console.log('failures:');
for (const [ name, error ] of failures)
	console.log(`\n---- ${name}\n${error.stack}`);

console.log(`test result: ${failures.length ? 'FAILED' : 'ok'}. ${tests.length - failures.length - skipped.length} passed; ${failures.length} failed; ${skipped.length} ignored`);
process.exitCode = failures.length ? 1 : 0;
