'use strict';
'require baseclass';

/* Part of the stand-in for LuCI's runtime: what fields are made of. Each has a node, getValue and
 * setValue; `check` gives true or what is wrong with a text. */

/* Marks an input while its text is not accepted. */
function watch(input, check, report) {
	const test = () => {
		const right = check(input.value);

		input.classList.toggle('cbi-input-invalid', right !== true);

		if (right === true)
			input.removeAttribute('data-tooltip');
		else
			input.setAttribute('data-tooltip', right);

		report(right);
		return right === true;
	};

	[ 'blur', 'keyup', 'input', 'change' ].forEach(name => input.addEventListener(name, test));
	return test;
}

const Text = baseclass.extend({
	__init__(id, value, option, check) {
		this.input = E('input', {
			'id': 'widget.' + id, 'type': option.password ? 'password' : 'text', 'class': 'cbi-input-text',
			'placeholder': option.placeholder, 'autocomplete': option.password ? 'new-password' : null
		});
		this.setValue(value);
		this.test = watch(this.input, check, right => { this.error = right });
		this.node = E('div', { 'id': id, 'class': option.password ? 'control-group' : null }, [
			this.input, option.password ? E('button', {
				'class': 'cbi-button cbi-button-neutral', 'title': _('Reveal/hide password'), 'aria-label': _('Reveal/hide password'),
				'click': ev => {
					ev.preventDefault();
					this.input.type = this.input.type === 'password' ? 'text' : 'password';
				}
			}, [ '∗' ]) : null
		]);
	},
	getValue() { return this.input.value },
	setValue(value) { this.input.value = value === null || value === undefined ? '' : value },
	isValid() { return this.test() }
});

const Select = baseclass.extend({
	__init__(id, value, option, check) {
		this.input = E('select', { 'id': 'widget.' + id, 'class': 'cbi-input-select' }, option.keylist.map((key, at) =>
			E('option', { 'value': key, 'selected': key === (value || '') ? '' : null }, [ option.vallist[at] ])));
		this.test = watch(this.input, check, right => { this.error = right });
		this.node = E('div', { 'id': id }, this.input);
	},
	getValue() { return this.input.value },
	setValue(value) { this.input.value = value },
	isValid() { return this.test() }
});

const Tick = baseclass.extend({
	__init__(id, value) {
		this.input = E('input', { 'type': 'checkbox', 'data-widget-id': 'widget.' + id, 'id': 'widget.' + id, 'checked': value === '1' ? '' : null });
		this.node = E('div', { 'id': id, 'class': 'cbi-checkbox' }, this.input);
	},
	getValue() { return this.input.checked ? '1' : '0' },
	setValue(value) { this.input.checked = value === '1' },
	isValid() { return true }
});

const List = baseclass.extend({
	__init__(id, values, option, check) {
		this.input = E('input', { 'id': 'widget.' + id, 'type': 'text', 'class': 'cbi-input-text', 'placeholder': option.placeholder });
		this.test = watch(this.input, text => text === '' || check(text), right => { this.error = right });
		this.adder = E('div', { 'class': 'add-item control-group' }, [
			this.input, E('button', { 'class': 'btn cbi-button cbi-button-add', 'aria-label': _('Add'), 'click': ev => { ev.preventDefault(); this.take() } }, [ '+' ])
		]);
		this.node = E('div', { 'id': id, 'class': 'cbi-dynlist' }, this.adder);
		this.input.addEventListener('keydown', ev => {
			if (ev.key === 'Enter') {
				ev.preventDefault();
				this.take();
			}
		});
		this.setValue(values);
	},

	take() {
		if (this.input.value === '' || !this.test())
			return;

		this.put(this.input.value);
		this.input.value = '';
	},

	put(value) {
		const item = E('div', { 'class': 'item', 'tabindex': '0', 'click': () => this.drop(item) }, [ E('span', [ value ]) ]);

		item.addEventListener('keydown', ev => {
			if (ev.key === 'Delete' || ev.key === 'Backspace')
				this.drop(item);
		});
		this.node.insertBefore(item, this.adder);
		this.node.dispatchEvent(new Event('change', { bubbles: true }));
	},

	drop(item) {
		item.remove();
		this.node.dispatchEvent(new Event('change', { bubbles: true }));
	},

	getValue() {
		const values = [ ...this.node.querySelectorAll('.item > span') ].map(span => span.textContent);

		return this.input.value !== '' && this.test() ? values.concat(this.input.value) : values;
	},
	setValue(values) {
		this.node.querySelectorAll('.item').forEach(item => item.remove());
		L.toArray(values).forEach(value => this.put(value));
	},
	isValid() { return this.test() }
});

return baseclass.extend({ Text: Text, Select: Select, Tick: Tick, List: List });
