'use strict';
'require baseclass';
'require onebox.daemon as daemon';

/* The past that the program keeps: rates, round trips and changes of state.
 *
 * How: of the range that is looked at, it is asked for what is new: of seconds at every look, of minutes
 * and hours once a minute. What cannot be had now, the next look asks for.
 */

const EVENTS = 100, AGAIN_MS = 60000;

/* What can be looked at: steps of so many seconds, so many of them, and their name. */
const RANGES = [
	{ step: 1, points: 300, title: _('5 minutes') },
	{ step: 60, points: 60, title: _('Hour') },
	{ step: 60, points: 1440, title: _('Day') },
	{ step: 3600, points: 744, title: _('Month') }
];

return baseclass.extend({
	VALUES: [ 'down_kbps', 'up_kbps', 'rtt_ms' ],
	RANGES: RANGES,

	__init__() {
		this.changes = [];
		this.choose(RANGES[0]);
	},

	/* This range from now on. */
	choose(range) {
		this.range = range;
		this.end_s = 0;
		this.asked = 0;
		this.series = [];
	},

	follow() {
		const last = this.changes[this.changes.length - 1] || { id: 0, time_s: 0 };
		const range = this.range;
		const due = range.step === 1 || Date.now() - this.asked >= AGAIN_MS;

		return Promise.all([
			due && L.resolveDefault(daemon.history(this.end_s, range.step)).then(reply => {
				if (reply && range === this.range) {
					this.append(reply);
					this.asked = Date.now();
				}
			}),
			L.resolveDefault(daemon.events(last.time_s), []).then(events => {
				/* A program that began anew counts from one again. */
				const fresh = events.filter(event => event.id > last.id || event.time_s > last.time_s);

				this.changes = this.changes.concat(fresh).slice(-EVENTS);
			})
		]);
	},

	/* Makes every series as long as the range; nothing is known of what is missing. A clock that was set
	 * back begins anew. */
	append(reply) {
		const { step, points } = this.range;
		const added = (reply.end_s - this.end_s) / step;
		const known = added < 0 ? [] : this.series;

		this.series = reply.series.map(fresh => {
			const old = known.find(one => one.peer === fresh.peer && one.wan === fresh.wan) || {};
			const series = { peer: fresh.peer, wan: fresh.wan };

			for (const key of this.VALUES) {
				const missing = Math.max(0, Math.min(Math.floor(added), points) - fresh[key].length);

				series[key] = new Array(points).fill(0).concat(old[key] || [], new Array(missing).fill(0), fresh[key]).slice(-points);
			}

			return series;
		});
		this.end_s = added < 0 ? 0 : reply.end_s;
	},

	/* What a series carried in the range, in bytes, and in which share of the time since it is known it
	 * answered. */
	totals(series) {
		const sum = key => series[key].reduce((all, value) => all + value, 0) * this.range.step * 125;
		const first = series.rtt_ms.findIndex(value => value > 0);
		const since = first < 0 ? [] : series.rtt_ms.slice(first);

		return {
			down: sum('down_kbps'), up: sum('up_kbps'),
			there: since.length ? since.filter(value => value > 0).length / since.length : 0
		};
	}
});
