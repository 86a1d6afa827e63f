'use strict';
'require baseclass';
'require onebox.daemon as daemon';

/* The last minutes: rates, round trips and changes of state.
 *
 * How: the program keeps them, and is asked for what is new. One that does not (its methods are
 * missing) makes the page collect what it sees itself, from the moment it is opened.
 */

const SECONDS = 300, EVENTS = 100, STEP = 3;

function push(list, value, most) {
	list.push(value);
	list.splice(0, list.length - most);
}

return baseclass.extend({
	__init__() {
		this.own = null;
		this.told = null;
		this.history = { end_s: 0, step_s: 1, series: [] };
		this.changes = [];
		this.states = null;
		this.seen = null;
		this.looks = 0;
	},

	/* Takes over what is new; `status` is what has just been seen. */
	follow(status) {
		const now = Math.floor(Date.now() / 1000);

		return Promise.all([ this.followRates(status, now), this.followChanges(status, now) ]);
	},

	followRates(status, now) {
		if (this.own)
			return this.sample(status, now);

		return daemon.history(this.history.end_s || undefined)
			.then(reply => this.merge(reply))
			.catch(error => {
				/* Anything else passes: the next poll asks again. */
				if (!daemon.isMissing(error))
					return;

				this.own = true;
				this.history = { end_s: now, step_s: STEP, series: [] };
				this.sample(status, now);
			});
	},

	/* Appends what came since the last time; a gap, or a program that began anew, starts afresh. */
	merge(reply) {
		const known = this.history;
		const added = Math.round((reply.end_s - known.end_s) / reply.step_s);
		const most = SECONDS / reply.step_s;

		if (added < 0 || added >= most || known.series.length === 0) {
			this.history = reply;
			return;
		}

		const series = reply.series.map(fresh => {
			const old = known.series.find(one => one.peer === fresh.peer && one.wan === fresh.wan);
			const join = key => (old ? old[key] : []).concat(fresh[key].slice(-added || fresh[key].length)).slice(-most);

			return added === 0 ? old || fresh : {
				peer: fresh.peer, wan: fresh.wan,
				up_kbps: join('up_kbps'), down_kbps: join('down_kbps'), rtt_ms: join('rtt_ms')
			};
		});

		this.history = { end_s: reply.end_s, step_s: reply.step_s, series: series };
	},

	/* One step of our own collection. */
	sample(status, now) {
		const history = this.history;
		const most = SECONDS / STEP;
		const seen = new Set();
		const add = (peer, wan, up, down, rtt) => {
			let one = history.series.find(other => other.peer === peer && other.wan === wan);

			if (!one)
				history.series.push(one = { peer: peer, wan: wan, up_kbps: [], down_kbps: [], rtt_ms: [] });

			seen.add(one);
			push(one.up_kbps, up, most);
			push(one.down_kbps, down, most);
			push(one.rtt_ms, rtt, most);
		};
		const sum = key => status.peers.reduce((all, peer) => all + ((peer.bond || {})[key] || 0), 0);

		history.end_s = now;
		add('', '', sum('goodput_up_kbps'), sum('goodput_down_kbps'), 0);
		status.peers.forEach(peer => peer.paths.forEach(path =>
			add(peer.name, path.wan, path.rate_up_kbps, path.rate_down_kbps, path.rtt_ms)));

		/* A path that is gone has rested since. */
		history.series.filter(one => !seen.has(one)).forEach(one => {
			push(one.up_kbps, 0, most);
			push(one.down_kbps, 0, most);
			push(one.rtt_ms, 0, most);
		});
	},

	followChanges(status, now) {
		if (this.told === false)
			return this.compare(status, now);

		/* All of them again only when something has changed, and now and then for what was short. */
		const states = status.peers.map(peer => peer.state + peer.paths.map(path => path.state)).join();

		if (states === this.seen && ++this.looks % 10 !== 0)
			return;

		this.seen = states;

		return daemon.events(0)
			.then(events => { this.changes = events.slice(-EVENTS) })
			.catch(error => {
				if (!daemon.isMissing(error))
					return;

				this.told = false;
				this.compare(status, now);
			});
	},

	/* What is another state than at the last look. */
	compare(status, now) {
		const states = new Map();
		const note = (key, change) => {
			states.set(key, change.state);

			if (this.states && this.states.get(key) !== change.state)
				push(this.changes, Object.assign({ time_s: now }, change), EVENTS);
		};

		status.peers.forEach(peer => {
			note(peer.name, { peer: peer.name, state: peer.state });
			peer.paths.forEach(path => note(peer.name + '\n' + path.wan,
				{ peer: peer.name, wan: path.wan, state: path.state, reason: path.reason }));
		});

		this.states = states;
	},

	/* The series of a peer's paths and of all together, each filled up in front to the same length:
	 * { span_s, total, paths: [{ wan, up_kbps, down_kbps, rtt_ms }] } */
	series(peer) {
		const step = this.history.step_s || 1;
		const length = SECONDS / step;
		const fill = (values, empty) => new Array(Math.max(0, length - values.length)).fill(empty)
			.concat(values.slice(-length));
		const of = one => ({
			wan: one.wan,
			up_kbps: fill(one.up_kbps, 0),
			down_kbps: fill(one.down_kbps, 0),
			rtt_ms: fill(one.rtt_ms, null).map(rtt => rtt > 0 ? rtt : null)
		});
		const total = this.history.series.find(one => one.wan === '' && one.peer === '');

		return {
			span_s: SECONDS,
			total: total ? of(total) : null,
			paths: this.history.series.filter(one => one.peer === peer && one.wan !== '').map(of)
		};
	}
});
