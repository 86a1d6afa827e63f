'use strict';
'require baseclass';
'require onebox.daemon as daemon';

/* The last minutes, which the program keeps: rates, round trips and changes of state.
 *
 * How: at every look it is asked for what is new. What cannot be had now, the next look asks for.
 */

/* All that is kept: five minutes, in steps of a second. */
const SECONDS = 300, EVENTS = 100;

return baseclass.extend({
	VALUES: [ 'down_kbps', 'up_kbps', 'rtt_ms' ],

	__init__() {
		this.end_s = 0;
		this.series = [];
		this.changes = [];
	},

	follow() {
		const last = this.changes[this.changes.length - 1] || { id: 0, time_s: 0 };

		return Promise.all([
			L.resolveDefault(daemon.history(this.end_s)).then(reply => reply && this.append(reply)),
			L.resolveDefault(daemon.events(last.time_s), []).then(events => {
				/* A program that began anew counts from one again. */
				const fresh = events.filter(event => event.id > last.id || event.time_s > last.time_s);

				this.changes = this.changes.concat(fresh).slice(-EVENTS);
			})
		]);
	},

	/* Makes every series as long as all of it; nothing is known of seconds that are missing. A clock
	 * that was set back begins anew. */
	append(reply) {
		const added = reply.end_s - this.end_s;
		const known = added < 0 ? [] : this.series;

		this.series = reply.series.map(fresh => {
			const old = known.find(one => one.peer === fresh.peer && one.wan === fresh.wan) || {};
			const series = { peer: fresh.peer, wan: fresh.wan };

			for (const key of this.VALUES) {
				const missing = Math.max(0, Math.min(added, SECONDS) - fresh[key].length);

				series[key] = new Array(SECONDS).fill(0).concat(old[key] || [], new Array(missing).fill(0), fresh[key]).slice(-SECONDS);
			}

			return series;
		});
		this.end_s = added < 0 ? 0 : reply.end_s;
	}
});
