'use strict';
'require baseclass';
'require dom';
'require rpc';
'require uci';
'require ui';
'require widgets';

/* Part of the stand-in for LuCI's runtime: forms over a configuration.
 *
 * Of LuCI's forms there is what the pages use: maps, sections named, typed and as a grid with a
 * dialogue, tabs, sections within sections, fields that depend on others. Ids, classes and data
 * attributes are LuCI's, so that one set of tests drives both.
 */

const callAccess = rpc.declare({ object: 'session', method: 'access', params: [ 'scope', 'object', 'function' ], expect: { access: true } });
const same = (a, b) => JSON.stringify(a === null ? undefined : a) === JSON.stringify(b === null ? undefined : b);

const Value = baseclass.extend({
	widget: 'Text',

	__init__(map, section, option, title, description) {
		Object.assign(this, { map, section, option, title, description, deps: [], rmempty: true, default: null, keylist: [], vallist: [] });
	},

	value(key, text) {
		this.keylist.push(key);
		this.vallist.push(text === undefined ? key : text);
	},

	depends(field, value) { this.deps.push(typeof field === 'string' ? { [field]: value } : field) },
	cbid(sid) { return 'cbid.%s.%s.%s'.format(this.map.config, sid, this.option) },
	load(sid) { return uci.get(this.map.config, sid, this.option) },
	cfgvalue(sid) { return this.data ? this.data[sid] : null },
	validate() { return true },
	getUIElement(sid) { return this.fields ? this.fields[sid] : null },
	formvalue(sid) { const field = this.getUIElement(sid); return field && field.node.isConnected ? field.getValue() : null },
	isActive(sid) { const row = this.rows && this.rows[sid]; return row !== undefined && !row.classList.contains('hidden') },
	textvalue(sid) { return '%h'.format(this.cfgvalue(sid) || this.default || '') },

	renderWidget(sid, index, cfgvalue) {
		const check = text => text === '' && (this.rmempty || this.optional) && this.widget !== 'Select' ? this.validate(sid, text)
			: text === '' && !this.rmempty && this.widget === 'Text' ? _('Expecting: %s').format(_('non-empty value')) : this.validate(sid, text);

		this.fields = this.fields || {};
		this.fields[sid] = new widgets[this.widget](this.cbid(sid), cfgvalue === null || cfgvalue === undefined ? this.default : cfgvalue, this, check);

		return this.fields[sid].node;
	},

	render(sid, inTable) {
		const widget = this.renderWidget(sid, 0, this.cfgvalue(sid));
		const frame = { 'id': 'cbi-%s-%s-%s'.format(this.map.config, sid, this.option), 'data-field': this.cbid(sid) };

		this.rows = this.rows || {};

		if (inTable) {
			this.rows[sid] = E('div', frame, widget);
			return E('td', { 'class': 'td cbi-value-field', 'data-name': this.option, 'data-title': this.title }, this.rows[sid]);
		}

		return this.rows[sid] = E('div', Object.assign(frame, { 'class': 'cbi-value', 'data-name': this.option }), [
			E('label', { 'class': 'cbi-value-title', 'for': 'widget.' + this.cbid(sid) }, [ this.title ]),
			E('div', { 'class': 'cbi-value-field' }, [ widget, this.description ? E('div', { 'class': 'cbi-value-description' }, [ this.description ]) : null ])
		]);
	},

	checkDepends(sid) {
		const row = this.rows && this.rows[sid];

		if (!row)
			return;

		const holds = this.deps.length === 0 || this.deps.some(dep => {
			const all = Object.keys(dep).filter(name => !name.startsWith('!')).every(name => {
				const other = this.section.children.find(child => child.option === name);

				return other && other.isActive(sid) && (other.formvalue(sid) || '') === dep[name];
			});

			return all !== (dep['!reverse'] === true);
		});

		row.classList.toggle('hidden', !holds);
	},

	parse(sid) {
		if (!this.isActive(sid))
			return this.retain ? null : this.remove(sid);

		const field = this.getUIElement(sid);

		if (!field)
			return null;
		if (!field.isValid())
			throw new TypeError(_('Option "%s" contains an invalid input value.').format(this.title) + ' ' + (field.error || ''));

		const now = field.getValue();

		if (now === null || now.length === 0) {
			if (!this.rmempty && !this.optional)
				throw new TypeError(_('Option "%s" must not be empty.').format(this.title));

			return this.remove(sid);
		}

		return same(now, this.cfgvalue(sid)) ? null : this.write(sid, now);
	},

	write(sid, value) { return uci.set(this.map.config, sid, this.option, value) },
	remove(sid) { return uci.unset(this.map.config, sid, this.option) }
});

const ListValue = Value.extend({ widget: 'Select', textvalue(sid) { return this.vallist[this.keylist.indexOf(this.cfgvalue(sid) || this.default)] } });
const DynamicList = Value.extend({ widget: 'List', load(sid) { const value = uci.get(this.map.config, sid, this.option); return value === null ? null : L.toArray(value) } });
const DummyValue = Value.extend({ renderWidget(sid) { return E('div', [ this.cfgvalue(sid) ]) }, parse() {} });
const Flag = Value.extend({
	widget: 'Tick',
	/* What is the default need not be written. */
	parse(sid) {
		const now = this.isActive(sid) ? this.formvalue(sid) : null;

		if (now === null || (now === this.default && this.rmempty))
			return uci.unset(this.map.config, sid, this.option);

		return now === this.cfgvalue(sid) ? null : uci.set(this.map.config, sid, this.option, now);
	}
});
const Button = Value.extend({
	renderWidget(sid) {
		return E('button', { 'class': 'cbi-button cbi-button-%s'.format(this.inputstyle || 'button'),
			'click': ui.createHandlerFn(this, ev => this.onclick(ev, sid)) }, [ this.inputtitle ]);
	},
	parse() {}
});

const Section = baseclass.extend({
	__init__(map, type, title, description) {
		Object.assign(this, { map, sectiontype: type, title, description, children: [], tabs: null });
	},

	tab(name, title, description) { (this.tabs = this.tabs || []).push({ name, title, description }) },
	option(Kind, name, ...rest) {
		const option = new Kind(this.map, this, name, ...rest);

		this.children.push(option);
		return option;
	},
	taboption(tab, Kind, name, ...rest) { return Object.assign(this.option(Kind, name, ...rest), { tab: tab }) },
	cfgsections() { return uci.sections(this.map.config, this.sectiontype).map(section => section['.name']) },

	load() {
		return Promise.all(this.cfgsections().flatMap(sid => this.children.map(option =>
			Promise.resolve(option.load(sid)).then(value => { (option.data = option.data || {})[sid] = value }))));
	},

	parse() { this.cfgsections().forEach(sid => this.children.forEach(option => option.parse(sid))) },
	checkDepends() { this.cfgsections().forEach(sid => this.children.forEach(option => option.checkDepends(sid))) },

	renderSection(sid) {
		const node = E('div', { 'id': 'cbi-%s-%s'.format(this.map.config, sid), 'class': 'cbi-section-node', 'data-section-id': sid });
		const rows = tab => this.children.filter(option => !tab || option.tab === tab.name).filter(option => option.modalonly !== false).map(option => option.render(sid));

		if (this.tabs)
			dom.append(node, this.tabs.map(tab => E('div', { 'class': 'cbi-section-tab', 'data-tab': tab.name, 'data-tab-title': tab.title },
				[ tab.description ? E('div', { 'class': 'cbi-section-tab-descr' }, [ tab.description ]) : null ].concat(rows(tab)))));
		else
			dom.append(node, rows());

		return node;
	},

	/* What can be added: a name and a button. */
	renderAdd() {
		if (!this.addremove)
			return null;

		const name = E('input', { 'type': 'text', 'class': 'cbi-section-create-name', 'aria-label': _('Name'), 'input': () => { add.disabled = !/^[A-Za-z0-9_]+$/.test(name.value) } });
		const add = E('button', { 'class': 'cbi-button cbi-button-add', 'disabled': '', 'click': () => this.handleAdd(name.value) }, [ this.addbtntitle || _('Add') ]);

		return E('div', { 'class': 'cbi-section-create' }, [ E('div', [ name ]), add ]);
	},

	handleAdd(name) {
		uci.add(this.map.config, this.sectiontype, name);
		return this.map.refresh();
	},

	handleRemove(sid) {
		uci.remove(this.map.config, sid);
		return this.map.refresh();
	}
});

const NamedSection = Section.extend({
	__init__(map, sid, type, title, description) {
		Section.prototype.__init__.call(this, map, type, title, description);
		this.section = sid;
	},
	cfgsections() { return uci.get(this.map.config, this.section) ? [ this.section ] : [] },
	render() { return E('div', { 'class': 'cbi-section' }, [ this.title ? E('h3', [ this.title ]) : null ].concat(this.cfgsections().map(sid => this.renderSection(sid)))) }
});

const TypedSection = Section.extend({
	render() {
		return E('div', { 'id': 'cbi-%s-%s'.format(this.map.config, this.sectiontype), 'class': 'cbi-section' }, this.cfgsections().map(sid => [
			E('div', { 'class': 'cbi-section-remove right' }, E('button', { 'class': 'cbi-button', 'click': () => this.handleRemove(sid) }, [ _('Delete') ])),
			E('h3', [ sid.toUpperCase() ]), this.renderSection(sid)
		]).concat(this.renderAdd()));
	}
});

const GridSection = Section.extend({
	columns() { return this.children.filter(option => option.modalonly !== true) },

	render() {
		const head = E('tr', { 'class': 'tr cbi-section-table-titles' }, [ E('th', { 'class': 'th' }, [ _('Name') ]) ]
			.concat(this.columns().map(option => E('th', { 'class': 'th' }, [ option.title ])), E('th', { 'class': 'th' })));

		return E('div', { 'id': 'cbi-%s-%s'.format(this.map.config, this.sectiontype), 'class': 'cbi-section cbi-tblsection' }, [
			E('table', { 'class': 'table cbi-section-table' }, [ head ].concat(this.cfgsections().map(sid => this.renderRow(sid)))), this.renderAdd()
		]);
	},

	renderRow(sid) {
		const row = E('tr', { 'id': 'cbi-%s-%s'.format(this.map.config, sid), 'class': 'tr cbi-section-table-row', 'data-sid': sid, 'data-title': sid, 'draggable': this.sortable ? 'true' : null },
			[ E('td', { 'class': 'td cbi-section-table-cell' }, [ E('strong', [ sid ]) ]) ]
				.concat(this.columns().map(option => option.editable ? option.render(sid, true)
					: E('td', { 'class': 'td cbi-value-field', 'data-name': option.option, 'data-title': option.title }, option.textvalue(sid))))
				.concat(E('td', { 'class': 'td cbi-section-actions' }, E('div', [
					this.sortable ? E('button', { 'title': _('Drag to reorder'), 'class': 'cbi-button drag-handle center' }, [ '☰' ]) : null,
					E('button', { 'class': 'cbi-button cbi-button-edit', 'click': () => this.edit(sid) }, [ _('Edit') ]),
					E('button', { 'class': 'cbi-button cbi-button-remove', 'click': () => this.handleRemove(sid) }, [ _('Delete') ])
				]))));

		row.addEventListener('dragstart', () => { this.dragged = sid });
		row.addEventListener('dragover', ev => ev.preventDefault());
		row.addEventListener('drop', () => {
			const below = this.cfgsections().indexOf(this.dragged) < this.cfgsections().indexOf(sid);
			const next = this.cfgsections()[this.cfgsections().indexOf(sid) + 1];

			uci.move(this.map.config, this.dragged, below ? next : sid);
			this.map.refresh();
		});

		return row;
	},

	parse() { this.cfgsections().forEach(sid => this.columns().filter(option => option.editable).forEach(option => option.parse(sid))) },

	handleAdd(name) {
		uci.add(this.map.config, this.sectiontype, name);
		return this.edit(name, true);
	},

	/* A dialogue with all options, on copies of them, so that the row stays what it is until then. */
	edit(sid, fresh) {
		const map = new FormMap(this.map.config);
		const section = map.section(NamedSection, sid, this.sectiontype);
		const close = () => {
			ui.hideModal();
			return this.map.refresh();
		};

		this.children.filter(option => option.modalonly !== false).forEach(option => section.children.push(
			Object.assign(Object.create(Object.getPrototypeOf(option)), option, { map, section, data: null, rows: null, fields: null })));

		return map.render().then(node => ui.showModal(this.modaltitle(sid), [ node, E('div', { 'class': 'right' }, [
			E('button', { 'class': 'cbi-button', 'click': () => {
				if (fresh)
					uci.remove(this.map.config, sid);

				return close();
			} }, [ _('Dismiss') ]), ' ',
			E('button', { 'class': 'cbi-button cbi-button-positive important', 'click': () => map.save(null, true).then(close, () => {}) }, [ _('Save') ])
		]) ], 'cbi-modal'));
	}
});

const SectionValue = Value.extend({
	__init__(map, section, option, Kind, ...rest) {
		Value.prototype.__init__.call(this, map, section, option);
		this.subsection = new Kind(map, ...rest);
	},
	load() { return this.subsection.load() },
	render() { return this.node = E('div', { 'class': 'cbi-value', 'data-name': this.option }, E('div', { 'class': 'cbi-section' }, this.subsection.render())) },
	parse() { return this.subsection.parse() },
	checkDepends() { this.subsection.checkDepends() }
});

const FormMap = baseclass.extend({
	__init__(config, title, description) { Object.assign(this, { config, title, description, children: [] }) },

	section(Kind, ...rest) {
		const section = new Kind(this, ...rest);

		this.children.push(section);
		return section;
	},

	load() { return Promise.all([ callAccess('uci', this.config, 'write'), uci.load(this.config) ]).then(() => Promise.all(this.children.map(section => section.load()))) },
	render() { return this.load().then(() => this.renderContents()) },
	refresh() { return this.load().then(() => this.renderContents()) },
	reset() { return this.renderContents() },

	renderContents() {
		if (!this.root) {
			this.root = E('div', { 'id': 'cbi-' + this.config, 'class': 'cbi-map' });
			[ 'change', 'input' ].forEach(name => this.root.addEventListener(name, () => this.checkDepends()));
			dom.bindClassInstance(this.root, this);
		}

		dom.content(this.root, [ this.title ? E('h2', { 'name': 'content' }, [ this.title ]) : null,
			this.description ? E('div', { 'class': 'cbi-map-descr' }, this.description) : null ].concat(this.children.map(section => section.render())));
		this.root.querySelectorAll('.cbi-section-node').forEach(node => ui.tabs.initTabGroup(node.childNodes));
		/* Twice, since what a field depends on may depend on another. */
		this.checkDepends();
		this.checkDepends();

		return this.root;
	},

	checkDepends() { this.children.forEach(section => section.checkDepends()) },

	save(cb, silent) {
		return Promise.resolve().then(() => this.children.forEach(section => section.parse())).then(cb)
			.then(() => silent ? null : uci.save()).then(() => this.load()).then(() => this.renderContents()).catch(error => {
				if (!silent)
					ui.showModal(_('Save error'), [ E('p', [ _('An error occurred while saving the form:') ]), E('p', [ E('em', [ error.message ]) ]),
						E('div', { 'class': 'right' }, E('button', { 'class': 'cbi-button', 'click': () => ui.hideModal() }, [ _('Dismiss') ])) ]);

				throw error;
			});
	}
});

return { Map: FormMap, NamedSection, TypedSection, GridSection, SectionValue, Value, ListValue, DynamicList, DummyValue, Flag, Button };
